import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class ExfusionConan(ConanFile):
    name = "exfusion"
    description = "Trains Transformers on CPUs with multi-expert fusion"
    license = "Apache-2.0"
    author = "The ExFusion authors"
    topics = ("deep-learning", "transformers", "mixture-of-experts", "header-only")

    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "compiled": [True, False],  # exfusion::compiled and exfusion::builtin_text beside the headers
        "with_io": [True, False],
        "with_data": [True, False],
        "fPIC": [True, False],
    }
    default_options = {"compiled": False, "with_io": True, "with_data": True, "fPIC": True}

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._root, "include", "exfusion", "version.hpp"))
        self.version = ".".join(re.findall(r"#define EXFUSION_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "docs/*.md", "include/*"):
            copy(self, pattern, self._root, self.export_sources_folder)

    def config_options(self):
        if self.settings.os == "Windows":
            del self.options.fPIC

    def configure(self):
        if not self.options.compiled:
            self.package_type = "header-library"
            self.options.rm_safe("fPIC")
        if self.options.with_data and not self.options.with_io:
            raise ConanInvalidConfiguration("with_data needs with_io: files of tokenizers are JSON")

    def requirements(self):
        self.requires("eigen/[>=3.4 <4]", transitive_headers=True)
        if self.options.with_io:
            self.requires("nlohmann_json/[>=3.9 <4]", transitive_headers=True)
            self.requires("xxhash/[>=0.8 <1]", transitive_headers=True)
        if self.options.with_data:
            self.requires("zlib/[>=1.2.11 <2]", transitive_headers=True)

    def package_id(self):
        if not self.info.options.compiled:
            self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update({
            "EXFUSION_BUILD_TESTS": False,
            "EXFUSION_BUILD_EXAMPLES": False,
            "EXFUSION_BUILD_BENCH": False,
            # A package runs on other machines than the one that built it.
            "EXFUSION_NATIVE": False,
            "EXFUSION_ONEDNN": "OFF",
            "EXFUSION_INSTALL_COMPILED": bool(self.options.compiled),
        })
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        if self.options.compiled:
            cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for folder in (("lib", "cmake"), ("lib", "pkgconfig"), ("share",)):
            rmdir(self, os.path.join(self.package_folder, *folder))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "exfusion")
        headers = self.cpp_info.components["exfusion"]
        headers.set_property("cmake_target_name", "exfusion::exfusion")
        headers.requires = ["eigen::eigen"]
        headers.bindirs = []
        headers.libdirs = []
        if self.settings.get_safe("compiler") != "msvc":
            headers.cxxflags = ["-fopenmp"]
            headers.exelinkflags = headers.sharedlinkflags = ["-fopenmp"]

        if self.options.with_io:
            self._component("io", ["exfusion", "nlohmann_json::nlohmann_json", "xxhash::xxhash"])
        if self.options.with_data:
            self._component("data", ["io", "zlib::zlib"])
            self._component("train", ["data"])
        if self.options.compiled:
            self._component("compiled", ["exfusion"], library="exfusion_compiled").defines = ["EXFUSION_COMPILED"]
            self._component("builtin_text", ["exfusion"], library="exfusion_builtin_text")

    def _component(self, name, requires, library=None):
        component = self.cpp_info.components[name]
        component.set_property("cmake_target_name", f"exfusion::{name}")
        component.requires = requires
        component.bindirs = []
        component.libdirs = ["lib"] if library else []
        component.libs = [library] if library else []
        return component
