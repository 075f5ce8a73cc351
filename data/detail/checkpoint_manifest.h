// The manifest of a checkpoint: which files it consists of, and which of them holds which elements of which tensor.
// Text and meaning only; files are read and written elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/core/dtype.h>
#include <gradus/core/shape.h>

namespace gradus::data::detail {

struct Manifest {
  struct File {
    uint64_t size;
    uint32_t crc;  ///< CRC-32 of all its bytes
  };
  /// `count` elements from `begin` on, in row-major order.
  struct Piece {
    int64_t file, begin, count;
    int64_t end() const { return begin + count; }
  };
  struct Tensor {
    std::string name;
    Dtype dtype;
    Shape shape;
    std::vector<Piece> pieces;
  };

  int64_t step = 0;
  std::vector<File> files;  ///< one a rank
  std::vector<Tensor> tensors;
};

/// "rank-00001-of-00004.safetensors"
std::string rank_file(int64_t rank, int64_t ranks);

/// What a file calls elements [begin, end) of a tensor: "model/weight" for all of them, else "model/weight[100:200]".
std::string piece_name(const std::string& tensor, const Shape& shape, int64_t begin, int64_t end);

/// JSON, a line for each file and tensor. The last line is the CRC-32 of those above it, so that no bit is free.
std::string to_text(const Manifest& manifest);

/// Takes such a text apart, strictly: IoError for anything that to_text() would not write, for files with other names,
/// and for pieces outside of their tensor.
Manifest parse_manifest(std::string_view text);

/// IoError unless each tensor is there once, its pieces follow each other without hole or overlap, and all of them
/// together have no more bytes than the files.
void check_whole(const Manifest& manifest);

/// The manifest of all ranks' files from those of each rank's own file; checked to be whole.
Manifest merge(std::vector<Manifest> ranks);

}  // namespace gradus::data::detail
