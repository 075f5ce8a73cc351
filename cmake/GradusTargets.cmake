# How a folder becomes part of libgradus.so: compile options, the include tree, per-ISA objects, the library itself.

# Includes are always <gradus/core/tensor.h>: a real folder build/include/gradus with one link per source folder.
set(GRADUS_INCLUDE_DIR ${PROJECT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${GRADUS_INCLUDE_DIR}/gradus)
foreach(folder core autograd nn optim data cuda distributed)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${GRADUS_INCLUDE_DIR}/gradus/${folder} SYMBOLIC)
endforeach()
set(GRADUS_UMBRELLA_HEADERS ${PROJECT_SOURCE_DIR}/gradus.h ${PROJECT_SOURCE_DIR}/core/fmt.h ${PROJECT_SOURCE_DIR}/core/io.h)
foreach(header ${GRADUS_UMBRELLA_HEADERS})
  get_filename_component(name ${header} NAME)
  file(CREATE_LINK ${header} ${GRADUS_INCLUDE_DIR}/gradus/${name} SYMBOLIC)
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/version.h.in ${GRADUS_INCLUDE_DIR}/gradus/version.h @ONLY)

# Options every one of our own targets is compiled with.
add_library(gradus_options INTERFACE)
target_compile_features(gradus_options INTERFACE cxx_std_20)
target_compile_options(gradus_options INTERFACE -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual -Wno-psabi
                       $<IF:$<CXX_COMPILER_ID:Clang>,-Wno-unknown-pragmas,-Wshadow=local>)
if(GRADUS_WERROR)
  target_compile_options(gradus_options INTERFACE -Werror)
endif()
if(GRADUS_SANITIZE)
  target_compile_options(gradus_options INTERFACE -fsanitize=${GRADUS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(gradus_options INTERFACE -fsanitize=${GRADUS_SANITIZE})
endif()
set(GRADUS_IS_X86 FALSE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(GRADUS_IS_X86 TRUE)
  target_compile_options(gradus_options INTERFACE -march=x86-64-v2)
endif()

# What the object libraries share beyond that: they become one shared library with hidden visibility.
add_library(gradus_internal INTERFACE)
target_link_libraries(gradus_internal INTERFACE gradus_options fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json
                      ZLIB::ZLIB Threads::Threads)
target_include_directories(gradus_internal INTERFACE ${GRADUS_INCLUDE_DIR})
get_target_property(GRADUS_EIGEN_INCLUDE Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(gradus_internal SYSTEM INTERFACE ${GRADUS_EIGEN_INCLUDE})
# sqrtf is vectorised only without errno; -ffast-math would break the rounding of our exp.
target_compile_options(gradus_internal INTERFACE -fno-math-errno)
target_compile_definitions(gradus_internal INTERFACE GRADUS_BUILDING EIGEN_DONT_PARALLELIZE)
if(GRADUS_HAVE_ONEDNN)
  target_compile_definitions(gradus_internal INTERFACE GRADUS_HAVE_ONEDNN)
  target_include_directories(gradus_internal SYSTEM INTERFACE ${GRADUS_ONEDNN_INCLUDE})
endif()

# Sanitizers check each access, so loops are not vectorised anyway, and -O1 compiles them in half the time.
set(GRADUS_KERNEL_OPTIONS -O3)
if(GRADUS_SANITIZE)
  set(GRADUS_KERNEL_OPTIONS -O1)
endif()

set(GRADUS_OBJECT_LIBRARIES "" CACHE INTERNAL "")

function(gradus_object_library name)
  if(NOT ARGN)
    return()
  endif()
  add_library(${name} OBJECT ${ARGN})
  target_link_libraries(${name} PRIVATE gradus_internal)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
  set(GRADUS_OBJECT_LIBRARIES "${GRADUS_OBJECT_LIBRARIES};${name}" CACHE INTERNAL "")
endfunction()

# gradus_isa_objects(NAME FILES...): the files once per instruction set, each in namespace gradus::cpu::<isa>.
function(gradus_isa_objects name)
  set(isas baseline)
  if(GRADUS_IS_X86)
    list(APPEND isas avx2 avx512)
  endif()
  set(flags_avx2 -march=x86-64-v3)
  set(flags_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
  if(NOT ARGN)
    return()
  endif()
  foreach(isa ${isas})
    gradus_object_library(${name}_${isa} ${ARGN})
    target_compile_definitions(${name}_${isa} PRIVATE GRADUS_ISA=${isa} GRADUS_ISA_${isa})
    # From a library that is linked last: options of the target itself would stand before the baseline's -march.
    if(NOT TARGET gradus_isa_${isa})
      add_library(gradus_isa_${isa} INTERFACE)
      # Jump threading, and the care for floating-point exceptions that nobody reads, turn the selects of our
      # branch-free mathematics into control flow, and the loops stay scalar.
      target_compile_options(gradus_isa_${isa} INTERFACE ${GRADUS_KERNEL_OPTIONS} -fno-trapping-math
                             $<$<CXX_COMPILER_ID:GNU>:-fno-thread-jumps> ${flags_${isa}})
    endif()
    target_link_libraries(${name}_${isa} PRIVATE gradus_isa_${isa})
  endforeach()
endfunction()

# The shared library, after every folder has named its objects.
function(gradus_library)
  add_library(gradus SHARED)
  add_library(gradus::gradus ALIAS gradus)
  foreach(objects ${GRADUS_OBJECT_LIBRARIES})
    target_sources(gradus PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
  target_compile_features(gradus PUBLIC cxx_std_20)
  target_include_directories(gradus PUBLIC $<BUILD_INTERFACE:${GRADUS_INCLUDE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(gradus PRIVATE $<BUILD_INTERFACE:gradus_internal> ${CMAKE_DL_LIBS})
  if(GRADUS_HAVE_ONEDNN)
    target_link_libraries(gradus PRIVATE ${GRADUS_ONEDNN_LIBRARY})
  endif()
  # Calls inside the library are direct: nobody is meant to put another function in the place of ours.
  target_link_options(gradus PRIVATE -Wl,-Bsymbolic-functions)
  target_link_options(gradus PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/gradus.map)
  if(NOT GRADUS_SANITIZE)  # what is declared but not defined shows here, not in a user's program
    target_link_options(gradus PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(gradus PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/gradus.map VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                        LINKER_LANGUAGE CXX)
endfunction()

# Our own programs: gradus_executable(NAME SOURCES...).
function(gradus_executable name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE gradus gradus_options fmt::fmt)
  if(TARGET gradus_gloo)  # loaded at run time, so no link would have it built
    add_dependencies(${name} gradus_gloo)
  endif()
endfunction()
