# libgradus_cuda.so, the plug-in for NVIDIA GPUs. Kernels are compiled by nvcc, everything else by the C++ compiler; the
# driver and the libraries are looked for when the plug-in is loaded, so that it can be built and carried anywhere.
file(GLOB GRADUS_CUDA_HOST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/backend/*.cpp)
file(GLOB GRADUS_CUDA_KERNEL_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/kernels/*.cu)
# What the emulated plug-in of the tests replaces by stand-ins.
set(GRADUS_CUDA_REAL_SOURCES ${GRADUS_CUDA_HOST_SOURCES})
list(FILTER GRADUS_CUDA_REAL_SOURCES INCLUDE REGEX "_library[.]cpp$")
list(REMOVE_ITEM GRADUS_CUDA_HOST_SOURCES ${GRADUS_CUDA_REAL_SOURCES})

find_path(GRADUS_CUDA_INCLUDE_DIR cuda_runtime.h HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include
          DOC "Folder of cuda_runtime.h")
# NCCL's header comes apart from the toolkit.
find_path(GRADUS_NCCL_INCLUDE_DIR nccl.h HINTS ${GRADUS_CUDA_INCLUDE_DIR} DOC "Folder of nccl.h")
if(GRADUS_NCCL_INCLUDE_DIR)
  file(GLOB nccl CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/distributed/nccl/*.cpp)
  list(APPEND GRADUS_CUDA_HOST_SOURCES ${nccl})
endif()

set(GRADUS_HAVE_CUDA FALSE)
if(NOT GRADUS_CUDA STREQUAL "OFF" AND NOT GRADUS_SANITIZE)
  find_program(GRADUS_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(GRADUS_NVCC AND GRADUS_CUDA_INCLUDE_DIR)
    set(GRADUS_HAVE_CUDA TRUE)
  elseif(GRADUS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "GRADUS_CUDA=ON but nvcc was not found: install the CUDA toolkit, or set CUDA_HOME to its folder")
  endif()
endif()
if(NOT GRADUS_HAVE_CUDA)
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${GRADUS_NVCC} CACHE FILEPATH "nvcc")
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)  # Ampere, and Hopper with code that later GPUs can translate
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "Compute capabilities to build kernels for")
endif()
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
enable_language(CUDA)

# Random values have the CPU's bits.
set_source_files_properties(${PROJECT_SOURCE_DIR}/cuda/kernels/random.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
# Two compilers, each with options of its own: the host side is an object library.
add_library(gradus_cuda_host OBJECT ${GRADUS_CUDA_HOST_SOURCES} ${GRADUS_CUDA_REAL_SOURCES})
target_link_libraries(gradus_cuda_host PRIVATE gradus_internal)
target_include_directories(gradus_cuda_host SYSTEM PRIVATE ${GRADUS_CUDA_INCLUDE_DIR}
                           $<$<BOOL:${GRADUS_NCCL_INCLUDE_DIR}>:${GRADUS_NCCL_INCLUDE_DIR}>)
set_target_properties(gradus_cuda_host PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                      VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
add_library(gradus_cuda MODULE ${GRADUS_CUDA_KERNEL_SOURCES} $<TARGET_OBJECTS:gradus_cuda_host>)
target_link_libraries(gradus_cuda PRIVATE gradus fmt::fmt ${CMAKE_DL_LIBS})
# 186: templates of all dtypes compare unsigned ones with 0.
target_compile_options(gradus_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--diag-suppress=186;--expt-relaxed-constexpr;-Xcompiler=-Wall;-Xcompiler=-Wno-unknown-pragmas>"
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${GRADUS_WERROR}>>:-Werror=all-warnings>)
set_target_properties(gradus_cuda PROPERTIES CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
                      CUDA_RUNTIME_LIBRARY Static
                      BUILD_RPATH $ORIGIN INSTALL_RPATH $ORIGIN LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/plugin.map)
target_link_options(gradus_cuda PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/plugin.map -Wl,-z,defs)
