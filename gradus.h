// Everything a training script needs. Formatters for fmt are in <gradus/fmt.h>.
#pragma once

#include <gradus/autograd/autograd.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/allocator.h>
#include <gradus/core/io.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/data/checkpoint.h>
#include <gradus/data/data_loader.h>
#include <gradus/data/dataset.h>
#include <gradus/data/display/chart.h>
#include <gradus/data/display/confusion.h>
#include <gradus/data/display/interrupt.h>
#include <gradus/data/display/picture.h>
#include <gradus/data/display/progress.h>
#include <gradus/data/display/report.h>
#include <gradus/data/display/run_folder.h>
#include <gradus/data/display/series.h>
#include <gradus/data/readers.h>
#include <gradus/data/safetensors.h>
#include <gradus/data/transforms.h>
#include <gradus/version.h>
