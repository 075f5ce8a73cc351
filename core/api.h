// Visibility of exported things: everything else in libgradus.so is hidden.
#pragma once
#define GRADUS_API __attribute__((visibility("default")))
