// Everything a training script needs. Formatters for fmt are in <gradus/fmt.h>.
#pragma once

#include <gradus/autograd/autograd.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/allocator.h>
#include <gradus/core/io.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/version.h>
