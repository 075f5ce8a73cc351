# libgradus_gloo.so, the plug-in for groups of processes on CPUs: the only part that needs libgloo, so that programs of
# one process start as fast without it.
set(GRADUS_HAVE_GLOO FALSE)
if(NOT GRADUS_GLOO STREQUAL "OFF")
  find_package(Gloo QUIET)
  if(TARGET gloo)
    set(GRADUS_HAVE_GLOO TRUE)
  elseif(GRADUS_GLOO STREQUAL "ON")
    message(FATAL_ERROR "GRADUS_GLOO=ON but Gloo was not found: apt-get install libgloo-dev")
  endif()
endif()
if(NOT GRADUS_HAVE_GLOO)
  return()
endif()

# Debian builds Gloo as RelWithDebInfo only, which fits every configuration of ours.
file(GLOB gloo_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/distributed/gloo/*.cpp)
add_library(gradus_gloo MODULE ${gloo_sources})
target_link_libraries(gradus_gloo PRIVATE gradus gradus_internal gloo)
target_compile_options(gradus_gloo PRIVATE ${GRADUS_KERNEL_OPTIONS})
set_target_properties(gradus_gloo PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF
                      BUILD_RPATH $ORIGIN INSTALL_RPATH $ORIGIN LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/gloo.map)
target_link_options(gradus_gloo PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/gloo.map)
if(NOT GRADUS_SANITIZE)
  target_link_options(gradus_gloo PRIVATE -Wl,-z,defs)
endif()
