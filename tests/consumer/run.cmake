# Installs Gradus into a temporary prefix, moves the prefix, then builds and runs the consumer against it, through
# find_package and through pkg-config, and configures the FetchContent project.
# usage: cmake -DBUILD_DIR= -DSOURCE_DIR= -DWORK_DIR= -DCXX= -DGENERATOR= -DVERSION= -P run.cmake
set(expected "gradus ${VERSION}: loss 24, gradient 4, error caught\n")

# run(COMMAND...): the output in `output`; anything but success ends the test.
macro(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message("${output}")
    message(FATAL_ERROR "ended with ${status}: ${ARGN}")
  endif()
endmacro()

macro(expect_hello program)
  run(${program})
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "${program} printed\n${output}instead of\n${expected}")
  endif()
  message(STATUS "${program}: ${output}")
endmacro()

set(configure ${CMAKE_COMMAND} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CXX})
set(prefix ${WORK_DIR}/moved)
file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/installed)
file(RENAME ${WORK_DIR}/installed ${prefix})

file(GLOB_RECURSE private ${prefix}/include/*)
list(FILTER private INCLUDE REGEX "/detail/|/core/cpu/|\\.cpp$")
if(private)
  message(FATAL_ERROR "private files are installed: ${private}")
endif()

run(${configure} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build -DCMAKE_PREFIX_PATH=${prefix} -DWANTED_VERSION=${VERSION})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
expect_hello(${WORK_DIR}/build/hello)

execute_process(COMMAND ${configure} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/other -DCMAKE_PREFIX_PATH=${prefix}
                        -DWANTED_VERSION=0.999 RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE output)
if(status EQUAL 0 OR NOT output MATCHES "considered but not accepted")
  message(FATAL_ERROR "asking for version 0.999 should fail because of the version:\n${output}")
endif()
message(STATUS "version 0.999 is refused")

find_program(pkg_config pkg-config)
file(GLOB_RECURSE pc ${prefix}/gradus.pc)
if(pkg_config)
  get_filename_component(pc_dir ${pc} DIRECTORY)
  run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_dir} ${pkg_config} --cflags --libs gradus)
  separate_arguments(flags UNIX_COMMAND "${output}")
  get_filename_component(lib_dir ${pc_dir} DIRECTORY)
  run(${CXX} -std=c++20 ${CMAKE_CURRENT_LIST_DIR}/hello.cpp -o ${WORK_DIR}/hello-pc ${flags} -Wl,-rpath,${lib_dir})
  expect_hello(${WORK_DIR}/hello-pc)
else()
  message(STATUS "pkg-config: SKIPPED, not installed")
endif()

run(${configure} -S ${CMAKE_CURRENT_LIST_DIR}/fetch -B ${WORK_DIR}/fetch -DGRADUS_SOURCE_DIR=${SOURCE_DIR})
message(STATUS "FetchContent: configured, nothing outside Gradus was changed")
