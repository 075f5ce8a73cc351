# Installs the library, its public headers (nothing private), the CMake package and gradus.pc; the tree can be moved.
include(CMakePackageConfigHelpers)

install(TARGETS gradus EXPORT GradusTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(GRADUS_HAVE_CUDA)  # beside the library, which looks for it there
  install(TARGETS gradus_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(GRADUS_HAVE_GLOO)
  install(TARGETS gradus_gloo LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(GRADUS_BUILD_TOOLS)
  install(TARGETS gradus-doctor gradus-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/core/*.h
     ${PROJECT_SOURCE_DIR}/autograd/*.h ${PROJECT_SOURCE_DIR}/nn/*.h ${PROJECT_SOURCE_DIR}/optim/*.h
     ${PROJECT_SOURCE_DIR}/data/*.h ${PROJECT_SOURCE_DIR}/distributed/*.h ${PROJECT_SOURCE_DIR}/cuda/*.h ${PROJECT_SOURCE_DIR}/cuda/launch.cuh
     ${PROJECT_SOURCE_DIR}/cuda/device/*.cuh)
list(FILTER headers EXCLUDE REGEX "/detail/|^core/cpu/|^cuda/(backend|kernels)/|^distributed/(gloo|nccl)/")
foreach(header ${headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gradus/${folder})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/gradus.h ${GRADUS_INCLUDE_DIR}/gradus/version.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gradus)

# <gradus/fmt.h> and <gradus/io.h> are links in the build tree. A copy would be a second file to `#pragma once`.
foreach(name fmt io)
  set(forwarder ${PROJECT_BINARY_DIR}/install/${name}.h)
  file(CONFIGURE OUTPUT ${forwarder} CONTENT "// See core/${name}.h.\n#include <gradus/core/${name}.h>\n")
  install(FILES ${forwarder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gradus)
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Gradus)
install(EXPORT GradusTargets NAMESPACE gradus:: DESTINATION ${package_dir})
configure_package_config_file(cmake/GradusConfig.cmake.in ${PROJECT_BINARY_DIR}/GradusConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/GradusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/GradusConfig.cmake ${PROJECT_BINARY_DIR}/GradusConfigVersion.cmake
        DESTINATION ${package_dir})

# gradus.pc finds the prefix from its own place.
file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH libdir_in_prefix ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH includedir_in_prefix ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
string(REGEX REPLACE "/$" "" prefix_from_pc ${prefix_from_pc})
configure_file(cmake/gradus.pc.in ${PROJECT_BINARY_DIR}/gradus.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gradus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
