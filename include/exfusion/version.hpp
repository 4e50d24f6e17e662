#pragma once

// The one place that states the library's version; CMakeLists.txt reads it from here.
#define EXFUSION_VERSION_MAJOR 0
#define EXFUSION_VERSION_MINOR 1
#define EXFUSION_VERSION_PATCH 0
