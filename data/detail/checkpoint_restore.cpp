// Who reads which elements.
#include <gradus/data/detail/checkpoint_restore.h>

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/checkpoint_things.h>
#include <gradus/data/detail/safetensors_file.h>

namespace gradus::data::detail {
namespace {

constexpr uint64_t stream_distance = uint64_t{1} << 40;  // counters between two ranks' random numbers

/// Elements that are wanted, by the file that has them, so that each file is opened once.
class Wanted {
 public:
  /// Elements from `begin` on, for the one-dimensional `values`.
  void add(const Manifest::Tensor& tensor, int64_t begin, const Tensor& values) {
    const int64_t end = begin + values.numel();
    for (const Manifest::Piece& piece : tensor.pieces) {
      const int64_t first = std::max(begin, piece.begin), last = std::min(end, piece.end());
      if (first >= last) continue;
      by_file_[piece.file].push_back(
          {&tensor, &piece, first - piece.begin, values.slice(0, first - begin, last - begin)});
    }
  }
  void read(const std::filesystem::path& folder, const Manifest& manifest) const {
    for (const auto& [number, readings] : by_file_) {
      SafetensorsFile file("Checkpointer", (folder / rank_file(number, std::ssize(manifest.files))).string(),
                           Reader::Links::refused);
      std::unordered_map<std::string_view, const HeaderEntry*> entries;
      for (const HeaderEntry& entry : file.entries()) entries[entry.name] = &entry;
      for (const auto& [tensor, piece, first, values] : readings) {
        const std::string name = piece_name(tensor->name, tensor->shape, piece->begin, piece->end());
        const auto found = entries.find(name);
        if (found == entries.end() || found->second->dtype != tensor->dtype ||
            found->second->shape.numel() != piece->count)
          file.fail(
              fmt::format("wants {} {} elements of '{}', as the manifest says", piece->count, tensor->dtype, name));
        file.read(*found->second, first, values);
      }
    }
  }

 private:
  struct Reading {
    const Manifest::Tensor* tensor;
    const Manifest::Piece* piece;
    int64_t first;  // element of the piece
    Tensor values;
  };
  std::map<int64_t, std::vector<Reading>> by_file_;
};

/// What one thing gets.
struct Given {
  NamedTensors whole;
  std::vector<StateSlice> slices;
  bool wants_slices = false;
};

/// A random generator's state as all ranks had it, and what this one gets.
struct Stream {
  Tensor all, own;
};

/// Distributes a checkpoint's tensors to the things that they belong to; wanted.read() fills them.
class Distribution {
 public:
  Distribution(const std::vector<NamedThing>& things, int rank, int ranks)
      : things_(things), given_(things.size()), rank_(rank), ranks_(ranks) {
    for (size_t i = 0; i < things.size(); ++i) {
      owners_[things[i].name] = i;
      for (StateSlice& slice : things[i].thing->state_slices()) {
        given_[i].wants_slices = true;
        slices_.emplace(things[i].name + '/' + slice.name, std::move(slice));
      }
    }
  }

  void add(const Manifest::Tensor& tensor) {
    const size_t slash = std::min(tensor.name.find('/'), tensor.name.size());
    const auto owner = owners_.find(tensor.name.substr(0, slash));
    if (owner == owners_.end()) {
      unclaimed_.push_back(tensor.name);
      return;
    }
    const std::string entry = tensor.name.substr(std::min(slash + 1, tensor.name.size()));
    Given& given = given_[owner->second];
    const auto [first, last] = slices_.equal_range(tensor.name);
    if (things_[owner->second].is_generator)
      add_row(tensor, entry, given);
    else if (first == last)
      add_whole(tensor, entry, given);
    else
      for (auto slice = first; slice != last; ++slice) add_slice(tensor, entry, slice->second, given);
  }

  /// Behind the last add().
  void load(const std::filesystem::path& folder, const Manifest& manifest) {
    GRADUS_CHECK(unclaimed_.empty(), CheckpointError, "it holds what resume() was not given: {}",
                 fmt::join(unclaimed_, ", "));
    wanted_.read(folder, manifest);
    for (const Stream& stream : streams_) stream.own.copy_(place_in(stream.all));
    for (size_t i = 0; i < things_.size(); ++i) {
      things_[i].thing->load_state_dict(given_[i].whole);
      if (given_[i].wants_slices) things_[i].thing->load_state_slices(given_[i].slices);
    }
  }

 private:
  void add_whole(const Manifest::Tensor& tensor, const std::string& entry, Given& given) {
    const Tensor x = empty(tensor.shape, {.dtype = tensor.dtype});
    wanted_.add(tensor, 0, x.reshape({x.numel()}));
    given.whole.push_back({entry, x});
  }
  void add_slice(const Manifest::Tensor& tensor, const std::string& entry, const StateSlice& own, Given& given) {
    GRADUS_CHECK(tensor.shape == own.shape, CheckpointError, "'{}' has shape {}; want {}", tensor.name, tensor.shape,
                 own.shape);
    const Tensor values = empty(own.values.shape(), {.dtype = tensor.dtype});
    wanted_.add(tensor, own.begin, values);
    given.slices.push_back({entry, own.shape, own.begin, values});
  }
  /// The state of a generator: a row of what all ranks had, (ranks, 2).
  void add_row(const Manifest::Tensor& tensor, const std::string& entry, Given& given) {
    GRADUS_CHECK(tensor.dtype == int64 && tensor.shape.rank() == 2 && tensor.shape[0] > 0 && tensor.shape[1] == 2,
                 CheckpointError, "'{}' is {}{}; want int64[ranks, 2]", tensor.name, tensor.dtype, tensor.shape);
    const Stream stream{empty(tensor.shape, {.dtype = int64}), empty({2}, {.dtype = int64})};
    wanted_.add(tensor, 0, stream.all.view({-1}));
    streams_.push_back(stream);
    given.whole.push_back({entry, stream.own});
  }
  /// This rank's own place; where the number of ranks has changed, rank 0's, and far from the other ranks' unless they
  /// all were at one place.
  Tensor place_in(const Tensor& all) const {
    if (all.size(0) == ranks_) return all[rank_];
    const Tensor first = all[0].clone();
    for (int64_t r = 1; r < all.size(0); ++r)
      if (!equal(all[r], first)) {
        auto& offset = reinterpret_cast<uint64_t&>(first.mutable_data<int64_t>()[1]);
        offset += stream_distance * static_cast<uint64_t>(rank_);
        break;
      }
    return first;
  }

  const std::vector<NamedThing>& things_;
  std::unordered_map<std::string, size_t> owners_;
  std::unordered_multimap<std::string, StateSlice> slices_;  // that this rank keeps
  std::vector<Given> given_;                                 // one a thing
  std::vector<Stream> streams_;
  std::vector<std::string> unclaimed_;
  Wanted wanted_;
  int64_t rank_, ranks_;
};

}  // namespace

void restore(const std::vector<Stateful*>& things, int rank, int ranks, const std::filesystem::path& folder,
             const Manifest& manifest) {
  const NoGrad no_graph;
  const std::vector<NamedThing> named = name_things(things);
  Distribution distribution(named, rank, ranks);
  for (const Manifest::Tensor& tensor : manifest.tensors) distribution.add(tensor);
  distribution.load(folder, manifest);
}

}  // namespace gradus::data::detail
