# Suites on the emulated CUDA device, once for each seed: those that run on any device (device.h), and test_cuda_*.
# Whoever has a GPU runs the same executables with GRADUS_TEST_DEVICE=cuda and without GRADUS_CUDA_PLUGIN.
set(GRADUS_EMULATION_SEEDS 1 CACHE STRING "Orders of blocks, threads and streams that the suites on the emulated device run in")

set(suites_on_any_device ops models optim random)
set(cuda_suites "")
foreach(source ${suites})
  get_filename_component(name ${source} NAME_WE)
  if(name MATCHES "^test_cuda_")
    string(REPLACE "test_" "" suite ${name})
    list(APPEND cuda_suites ${suite})
  endif()
endforeach()

if(NOT GRADUS_CUDA_INCLUDE_DIR)
  foreach(suite ${suites_on_any_device} ${cuda_suites})
    add_test(NAME emulated_${suite}
             COMMAND ${CMAKE_COMMAND} -E echo "SKIPPED: no cuda_runtime.h; install the CUDA toolkit, or set GRADUS_CUDA_INCLUDE_DIR")
    set_tests_properties(emulated_${suite} PROPERTIES SKIP_REGULAR_EXPRESSION SKIPPED LABELS emulation)
  endforeach()
  return()
endif()

# Reports of earlier runs do not count.
set(reports ${PROJECT_BINARY_DIR}/emulation)
add_test(NAME emulation_begins COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -P ${CMAKE_CURRENT_LIST_DIR}/forget_reports.cmake)
set_tests_properties(emulation_begins PROPERTIES FIXTURES_SETUP emulation_reports LABELS emulation)

# Where no sanitizer owns the signal, a host that touches device memory is stopped, in suites with few waits.
set(strict "")
if(NOT GRADUS_SANITIZE)
  set(strict GRADUS_EMULATION_STRICT=1)
endif()

# gradus_emulated_suite(NAME SUITE [FILTER...] [ENVIRONMENT NAME=VALUE...]): tests NAME_seed_1 and so on.
function(gradus_emulated_suite name suite)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "ENVIRONMENT")
  foreach(seed ${GRADUS_EMULATION_SEEDS})
    set(test ${name}_seed_${seed})
    add_test(NAME ${test} COMMAND test_${suite} ${arg_UNPARSED_ARGUMENTS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${test} PROPERTIES TIMEOUT ${suite_timeout} SKIP_RETURN_CODE 4 LABELS "emulation;${thread_label}"
      FIXTURES_REQUIRED emulation_reports
      ENVIRONMENT "GRADUS_TEST_DEVICE=cuda;GRADUS_CUDA_PLUGIN=$<TARGET_FILE:gradus_cuda_emulated>;GRADUS_EMULATION_SEED=${seed};GRADUS_EMULATION_REPORT=${reports}/${test}.tsv;${arg_ENVIRONMENT}")
    set_property(GLOBAL APPEND PROPERTY gradus_emulated_tests ${test})
  endforeach()
endfunction()

# Under a sanitizer what only repeats kernels with other values is left out. ThreadSanitizer takes a hundred times as long:
# it sees every kernel with the small inputs of the op table, and does without the suites of large ones.
set(ops_properties golden dtype gradcheck layout bad)
set(thread_label "")
if(GRADUS_SANITIZE MATCHES thread)
  set(ops_properties golden)
  set(thread_label threads)
  list(REMOVE_ITEM cuda_suites cuda_attention cuda_channels cuda_conv cuda_index cuda_memory cuda_reduce cuda_rows)
  list(REMOVE_ITEM cuda_suites cuda_ddp cuda_process_group)  # Gloo is below them: they would need tsan_run
elseif(GRADUS_SANITIZE)
  list(REMOVE_ITEM ops_properties gradcheck)
endif()
foreach(property ${ops_properties})
  gradus_emulated_suite(ops_cuda_${property} ops "[${property}]")
endforeach()
if(NOT GRADUS_SANITIZE MATCHES thread)
  gradus_emulated_suite(ops_cuda_stop_at_op ops "[bad]" ENVIRONMENT GRADUS_SYNC=1)
  gradus_emulated_suite(ops_cuda_strict ops "[golden]" ENVIRONMENT ${strict})
  gradus_emulated_suite(models_cuda models ENVIRONMENT ${strict})
endif()
gradus_emulated_suite(optim_cuda optim ENVIRONMENT ${strict})
gradus_emulated_suite(random_cuda random "[device]" ENVIRONMENT ${strict})
foreach(suite ${cuda_suites})
  gradus_emulated_suite(${suite} ${suite})
endforeach()
foreach(suite ${suites_on_any_device} ${cuda_suites})
  add_dependencies(test_${suite} gradus_cuda_emulated)
  add_dependencies(threaded_suites test_${suite})
endforeach()

if(strict)
  add_test(NAME cuda_host_touch COMMAND test_cuda_device "[.touch]")
  set_tests_properties(cuda_host_touch PROPERTIES PASS_REGULAR_EXPRESSION "the host touched device memory"
    ENVIRONMENT "GRADUS_CUDA_PLUGIN=$<TARGET_FILE:gradus_cuda_emulated>;${strict}")
endif()

# An example as users run it, once; it says nothing that another seed would change.
if(TARGET fashion_mnist)
  add_test(NAME fashion_mnist_cuda COMMAND ${CMAKE_CURRENT_LIST_DIR}/project/same_training_test $<TARGET_FILE:fashion_mnist>)
  set_tests_properties(fashion_mnist_cuda PROPERTIES TIMEOUT ${suite_timeout}
    ENVIRONMENT "GRADUS_CUDA_PLUGIN=$<TARGET_FILE:gradus_cuda_emulated>;GRADUS_EMULATION_SEED=1")
endif()

# What all of them have executed.
if(GRADUS_CUDA_COVERAGE AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  find_program(GRADUS_PYTHON python3)
  string(REGEX MATCH "^[0-9]+" major ${CMAKE_CXX_COMPILER_VERSION})
  find_program(GRADUS_GCOV NAMES gcov-${major} gcov)
  get_property(emulated_tests GLOBAL PROPERTY gradus_emulated_tests)
  if(GRADUS_PYTHON)
    add_test(NAME emulation_summary
             COMMAND ${PROJECT_SOURCE_DIR}/tools/emulation_summary ${PROJECT_BINARY_DIR} ${GRADUS_GCOV})
  else()
    add_test(NAME emulation_summary COMMAND ${CMAKE_COMMAND} -E echo "SKIPPED: no python3; apt-get install python3")
  endif()
  set_tests_properties(emulation_summary PROPERTIES DEPENDS "${emulated_tests}" LABELS emulation
                       SKIP_REGULAR_EXPRESSION SKIPPED)
endif()
