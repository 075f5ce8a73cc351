// Readers of data files. Each treats its file as hostile: sizes are checked before memory is taken, and what is
// malformed is an IoError that names the file and what is wrong with it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <gradus/core/stateful.h>
#include <gradus/data/dataset.h>

namespace gradus::data {

/// An IDX file, plain or gzip (.gz), of any of its element types (big-endian on disk): the tensor it holds.
GRADUS_API Tensor read_idx(const std::string& path);

/// Fashion-MNIST (Xiao et al., arXiv 1708.07747): `part` is "train" (60,000) or "test" (10,000). Inputs uint8
/// [N, 1, 28, 28], turned by each batch into float32 with mean 0 and standard deviation 1; targets int64 [N]. Looked
/// for in GRADUS_DATA, the folders of Debian's package dataset-fashion-mnist, and build/data-root; IoError with the
/// install line when it is in none.
GRADUS_API TensorDataset fashion_mnist(const std::string& part, const std::string& folder = {});
/// MNIST in the same four-file form, from a folder.
GRADUS_API TensorDataset mnist(const std::string& part, const std::string& folder);
/// Generated pictures of the digits 0 to 9 (a 5x7 font, scaled, rotated, shifted, with noise), in Fashion-MNIST's form:
/// for machines without data. Synthetic: never to be reported as anything else.
GRADUS_API TensorDataset synthetic_glyphs(int64_t count, uint64_t seed);

/// CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their binary form, from the folder that holds the .bin files: inputs
/// uint8 [N, 3, 32, 32], turned by each batch into float32 with mean 0 and standard deviation 1 for each channel;
/// targets int64 [N], of CIFAR-100 the fine labels.
GRADUS_API TensorDataset cifar10(const std::string& part, const std::string& folder);
GRADUS_API TensorDataset cifar100(const std::string& part, const std::string& folder);

struct CsvOptions {
  char separator = ',';
  bool header = true;                     ///< the first row names the columns; else they are "0", "1", ...
  int64_t skip_rows = 0;                  ///< lines before it
  std::vector<std::string> columns = {};  ///< the columns wanted, by name and in this order; all when empty
};
struct CsvTable {
  Tensor values;                     ///< float64 [rows, columns]
  std::vector<std::string> columns;  ///< their names
};
/// A table of numbers (RFC 4180, plain or .gz). Columns that are not wanted may hold text. A cell that is no number, or
/// a row of another length, is an IoError with line and column.
GRADUS_API CsvTable read_csv(const std::string& path, const CsvOptions& options = {});
/// A table as a data set: float32 inputs [N, columns - 1], and the column `target` as int64 classes [N], or as numbers
/// when target_dtype is float32.
GRADUS_API TensorDataset read_csv_dataset(const std::string& path, const std::string& target,
                                          const CsvOptions& options = {}, Dtype target_dtype = int64);

/// A whole text file, plain or .gz, as bytes.
GRADUS_API std::string read_text(const std::string& path);
/// The King James Bible as plain text, one verse a line, from Debian's packages bible-kjv and bible-kjv-text
/// (installed, or unpacked under build/data-root); IoError with the install line when they are not there.
GRADUS_API std::string king_james_bible();

/// NumPy's .npy, version 1 to 3, C or Fortran order, either byte order, of the dtypes that Gradus has.
GRADUS_API Tensor load_npy(const std::string& path);
/// Version 1.0. bfloat16, which NumPy has not, is a DtypeError.
GRADUS_API void save_npy(const std::string& path, const Tensor& x);
/// The arrays of an .npz by name, stored or compressed; archives of 4 GB and more are refused.
GRADUS_API NamedTensors load_npz(const std::string& path);
/// Uncompressed, as numpy.savez.
GRADUS_API void save_npz(const std::string& path, const NamedTensors& arrays);

}  // namespace gradus::data
