# Reports and counters of earlier runs on the emulated device do not count: cmake -DBUILD=... -P forget_reports.cmake
file(REMOVE_RECURSE ${BUILD}/emulation)
file(MAKE_DIRECTORY ${BUILD}/emulation)
file(GLOB_RECURSE counters ${BUILD}/tests/cuda_emulation/*.gcda)
file(REMOVE ${counters})
