// Batches of a data set in a seeded order, prepared ahead by threads. Samplers say which examples, and in which order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/core/stateful.h>
#include <gradus/data/dataset.h>
#include <gradus/data/shared.h>
#include <gradus/distributed/process_group.h>

namespace gradus::data {

/// The order of an epoch: a list of indices that depends on the sampler's options and the epoch alone.
class GRADUS_API Sampler {
 public:
  virtual ~Sampler() = default;
  virtual std::vector<int64_t> indices(int64_t epoch) const = 0;
  /// Indices in one epoch.
  virtual int64_t size() const = 0;
};
/// 0, 1, 2, ...
class GRADUS_API SequentialSampler : public Sampler {
 public:
  explicit SequentialSampler(int64_t size);
  std::vector<int64_t> indices(int64_t epoch) const override;
  int64_t size() const override { return size_; }

 private:
  int64_t size_;
};
/// A permutation for each (seed, epoch).
class GRADUS_API RandomSampler : public Sampler {
 public:
  RandomSampler(int64_t size, uint64_t seed);
  std::vector<int64_t> indices(int64_t epoch) const override;
  int64_t size() const override { return size_; }

 private:
  int64_t size_;
  uint64_t seed_;
};
/// `samples` draws with replacement for each (seed, epoch), each index with probability proportional to its weight.
class GRADUS_API WeightedSampler : public Sampler {
 public:
  WeightedSampler(std::vector<double> weights, int64_t samples, uint64_t seed);
  std::vector<int64_t> indices(int64_t epoch) const override;
  int64_t size() const override { return samples_; }

 private:
  std::vector<double> cumulative_;
  int64_t samples_;
  uint64_t seed_;
};

struct DataLoaderOptions {
  int64_t batch = 1;     ///< examples in a batch, of all ranks together
  bool shuffle = false;  ///< a RandomSampler with `seed`, unless a sampler is given
  uint64_t seed = 0;
  bool drop_last = false;         ///< leave out a last batch that is smaller
  int workers = 0;                ///< threads that prepare batches; 0: the caller's, when it asks
  int prefetch = 2;               ///< batches ready ahead for each worker
  Device device = {};             ///< where batches are wanted; workers copy to a CUDA device while it computes
  Shared<Sampler> sampler = {};   ///< .sampler = WeightedSampler(...)
  dist::ProcessGroup group = {};  ///< the ranks that share each batch
  int64_t shards = 0;             ///< parts of a batch, each with random numbers of its own; 0: one a rank
};

/// A sample could not be loaded: the message and `index` say which one. The error behind it is nested
/// (std::rethrow_if_nested). When no single sample is to blame, but the batch fails as a whole, `index` is -1.
class GRADUS_API SampleError : public Error {
 public:
  SampleError(const std::string& message, int64_t index);
  SampleError(const SampleError&);
  ~SampleError() override;
  int64_t index;
};

/// `for (auto& [x, y] : loader)`: one epoch, in the sampler's order, the same batches for any number of workers. What a
/// data set or its transform draws from the default generator depends on seed, epoch, batch and shard alone.
///
/// With a group, all ranks walk through the same batches, and each delivers its rows: of m rows, rank r of n has
/// [r * m / n, (r + 1) * m / n), rounded down. So batches, size(), position() and the state do not depend on the number
/// of ranks: a run can be resumed with another one, and no example is lost or comes twice. A last batch that is smaller
/// than the group leaves some ranks with 0 rows (and means of nan); drop_last avoids that. Random numbers are the same
/// for every number of ranks that divides `shards`; where ranks cut a shard, or by default, they are others, but no
/// less reproducible.
///
/// For those who know PyTorch's DistributedSampler: its batch_size counts the rows of one rank, this one those of all;
/// it pads the epoch with examples that come twice, this one never does; set_epoch() is not needed.
///
/// A sample that fails is a SampleError, thrown where its batch is asked for; the next loop asks for that batch again.
/// The state is the position: loading it goes on in the middle of an epoch with the batches that were not yet
/// delivered, also when it was taken inside the loop. One thread at a time may use a DataLoader.
class GRADUS_API DataLoader : public Stateful {
 public:
  /// `dataset`: an object, copied or moved into the loader, or a pointer to one.
  DataLoader(Shared<Dataset> dataset, const DataLoaderOptions& options);
  DataLoader(DataLoader&&) noexcept;
  ~DataLoader() override;

  /// Batches in an epoch.
  int64_t size() const;
  /// Epochs finished. The body of the loop still belongs to the running one, with its last batch too.
  int64_t epoch() const;
  /// Batches of the running epoch that were delivered, the one in the body of the loop included.
  int64_t position() const;

  class GRADUS_API Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Example;
    using difference_type = std::ptrdiff_t;
    using pointer = Example*;
    using reference = Example&;
    Example& operator*() const;
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const;

   private:
    friend class DataLoader;
    explicit Iterator(DataLoader* loader) : loader_(loader) {}
    DataLoader* loader_;
  };
  /// Begins the next epoch, or goes on with one that a loaded state, or a loop left by break, had begun: if that had
  /// delivered its last batch, the loop has no turns and the epoch is finished.
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

  const char* state_name() const override { return "loader"; }
  NamedTensors state_dict() const override;
  void load_state_dict(const NamedTensors& state) override;

 private:
  struct State;
  Box<State> state_;
};

}  // namespace gradus::data
