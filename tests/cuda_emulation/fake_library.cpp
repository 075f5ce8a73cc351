// A library to be found: GRADUS_FAKE_VERSION is what it calls itself; a poor one lacks a function.
extern "C" __attribute__((visibility("default"))) int fake_version() { return GRADUS_FAKE_VERSION; }
#if !defined(GRADUS_FAKE_POOR)
extern "C" __attribute__((visibility("default"))) int fake_add(int a, int b) { return a + b; }
#endif
