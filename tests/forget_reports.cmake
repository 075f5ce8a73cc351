# Reports and counters of earlier runs on the emulated device do not count: cmake -DBUILD=... -P forget_reports.cmake
file(GLOB_RECURSE counters ${BUILD}/tests/cuda_emulation/*.gcda)
file(REMOVE_RECURSE ${BUILD}/emulation ${counters})
file(MAKE_DIRECTORY ${BUILD}/emulation)
