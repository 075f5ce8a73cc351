// One .npy array in a stream: a file of its own, or a member of an archive.
#pragma once

#include <string>

#include <gradus/core/tensor.h>
#include <gradus/data/detail/reader.h>

namespace gradus::data::detail {

/// Reads an array to the end of the file.
Tensor read_npy(Reader& file);
/// Everything before the data of an array. `op` and `name` begin the error of a tensor that NumPy could not have.
std::string npy_header(const char* op, const std::string& name, const Tensor& x);

}  // namespace gradus::data::detail
