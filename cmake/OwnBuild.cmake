# Flags of the targets that are built here, never imposed on those who use the library.
function(exfusion_own_build target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow $<$<BOOL:${PROJECT_IS_TOP_LEVEL}>:-Werror>)
  # g++ 12 takes its own AVX-512 intrinsics, as Eigen uses them, for reads of unset registers
  # (https://gcc.gnu.org/PR105593).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
  endif()
  # errno and trapping of floating-point exceptions are not used; without them loops vectorise. NaN and
  # infinity keep their meaning.
  target_compile_options(${target} PRIVATE -fno-math-errno -fno-trapping-math)
  if(EXFUSION_NATIVE)
    target_compile_options(${target} PRIVATE -march=native)
  endif()
  # Both compilers make do with vectors of 256 bits on many AVX-512 CPUs unless told otherwise.
  if(EXFUSION_NATIVE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(${target} PRIVATE -mprefer-vector-width=512)
  endif()
  if(EXFUSION_SANITIZE)
    set(sanitizers ${EXFUSION_SANITIZE})
    if(EXFUSION_SANITIZE STREQUAL "address")
      list(APPEND sanitizers undefined)
    endif()
    list(JOIN sanitizers "," sanitizers)
    target_compile_options(${target} PRIVATE -fsanitize=${sanitizers} -fno-sanitize-recover=all
      -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${sanitizers})
    # With its checks in them, clang cannot vectorise some loops that ask for it.
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      target_compile_options(${target} PRIVATE -Wno-pass-failed)
    endif()
  endif()
endfunction()
