// The loader: a plan says how each batch of an epoch is made, a pipeline lets threads make them ahead, in order.
#include <gradus/data/data_loader.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include <gradus/autograd/grad_mode.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/state_check.h>
#include <gradus/core/parallel.h>
#include <gradus/core/philox.h>
#include <gradus/core/random.h>
#include <gradus/cuda/cuda.h>

namespace gradus::data {
namespace {

/// The batches of one epoch. Each is made from its number alone, by any thread and in any order.
struct Plan {
  const Dataset& dataset;
  const DataLoaderOptions& options;
  std::vector<int64_t> order;
  int64_t batches, epoch;

  Example make(int64_t number) const;

 private:
  /// Rows [begin, end) of a batch.
  struct Rows {
    int64_t begin, end;
    bool empty() const { return begin >= end; }
  };
  /// Part i of n parts of m rows.
  static Rows cut(int64_t m, int64_t i, int64_t n) { return {m * i / n, m * (i + 1) / n}; }

  std::span<const int64_t> batch(int64_t number) const {  // of all ranks
    const std::span<const int64_t> rest = std::span(order).subspan(static_cast<size_t>(number * options.batch));
    return rest.first(std::min(rest.size(), static_cast<size_t>(options.batch)));
  }
  std::span<const int64_t> indices(int64_t number, Rows rows) const {
    return batch(number).subspan(static_cast<size_t>(rows.begin), static_cast<size_t>(rows.end - rows.begin));
  }
  Rows part(int64_t number) const {  // of this rank
    return cut(std::ssize(batch(number)), options.group.rank(), options.group.size());
  }
  Example make_part(int64_t number) const;
  Example make_shard(int64_t number, int64_t shard, Rows rows, int64_t skipped) const;
  [[noreturn]] void blame(int64_t number) const;
};

Example Plan::make(int64_t number) const {
  const NoGrad no_graph;
  try {
    return make_part(number);
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const std::exception&) {
    blame(number);
  }
}

Example Plan::make_part(int64_t number) const {
  const Rows own = part(number);
  if (own.empty()) {  // one row tells shapes and dtypes
    const Example row = make_shard(number, 0, {0, 1}, 0);
    return {row.input.slice(0, 0, 0), row.target.defined() ? row.target.slice(0, 0, 0) : Tensor()};
  }
  const int64_t shards = options.shards ? options.shards : options.group.size();
  std::vector<Tensor> inputs, targets;
  for (int64_t i = 0; i < shards; ++i) {
    const Rows shard = cut(std::ssize(batch(number)), i, shards);
    const Rows rows{std::max(own.begin, shard.begin), std::min(own.end, shard.end)};
    if (rows.empty()) continue;
    Example made = make_shard(number, i, rows, rows.begin - shard.begin);
    inputs.push_back(std::move(made.input));
    if (made.target.defined()) targets.push_back(std::move(made.target));
  }
  if (inputs.size() == 1) return {inputs[0], targets.empty() ? Tensor() : targets[0]};
  return {cat(inputs), targets.empty() ? Tensor() : cat(targets)};
}

/// `skipped`: rows of the shard that another rank makes.
Example Plan::make_shard(int64_t number, int64_t shard, Rows rows, int64_t skipped) const {
  const philox::Words words =
      philox::philox(options.seed, (static_cast<uint64_t>(shard) << 40) + static_cast<uint64_t>(epoch));
  Generator generator;
  generator.seek(uint64_t{words.w[0]} << 32 | words.w[1],
                 (static_cast<uint64_t>(number) << 32) + (static_cast<uint64_t>(skipped) << 16));
  const UseGenerator use(generator);
  return dataset.batch(indices(number, rows));
}

/// Called while the batch's exception is handled: finds the sample that fails on its own.
void Plan::blame(int64_t number) const {
  const Rows own = part(number);
  const std::span<const int64_t> wanted = indices(number, own.empty() ? Rows{0, 1} : own);
  Generator generator;
  const UseGenerator use(generator);
  for (const int64_t index : wanted) {
    try {
      dataset.get(index);
    } catch (const std::exception& error) {
      std::throw_with_nested(SampleError(fmt::format("DataLoader: sample {}: {}", index, error.what()), index));
    }
  }
  try {
    throw;
  } catch (const std::exception& error) {
    std::throw_with_nested(SampleError(
        fmt::format("DataLoader: batch {} of samples {}: {}", number, fmt::join(wanted, ", "), error.what()), -1));
  }
}

/// Brings a worker's batches to a CUDA device beside what is computed there: through pinned memory and a stream of the
/// worker's own. For other devices it does nothing: the loop moves the batch that it delivers.
class Staging {
 public:
  explicit Staging(Device device) {
    if (device.is_cuda()) stream_.emplace(device);
  }
  Example operator()(const Example& batch) const {
    if (!stream_) return batch;
    const cuda::UseStream use(*stream_);
    return {moved(batch.input), moved(batch.target)};
  }
  /// For the thread that takes the batch over: its memory goes back to the worker only after this thread's work on it.
  static void hand_over(const Tensor& x) {
    if (x.defined() && x.device().is_cuda()) cuda::record_stream(x, cuda::Stream::current(x.device()));
  }

 private:
  Tensor moved(const Tensor& x) const {
    if (!x.defined() || !x.device().is_cpu()) return x;
    return cuda::pin_memory(x).to(stream_->device());  // waits for the copy
  }

  std::optional<cuda::Stream> stream_;
};

/// Threads that make the batches of a plan ahead of the one who asks for them, at most `capacity` at a time.
class Pipeline {
 public:
  Pipeline(const Plan& plan, int64_t first, const DataLoaderOptions& options)
      : plan_(plan),
        device_(options.device),
        next_made_(first),
        next_asked_(first),
        slots_(static_cast<size_t>(int64_t{options.workers} * int64_t{options.prefetch})) {
    try {
      for (int i = 0; i < options.workers; ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      stop();
      throw Error(fmt::format("DataLoader: cannot start {} workers: {}", options.workers, error.what()));
    }
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline() { stop(); }

  /// The next batch in order; waits for it. Rethrows what its maker threw.
  Example next() {
    std::unique_lock lock(mutex_);
    Slot& slot = slot_of(next_asked_);
    made_.wait(lock, [&] { return slot.full; });
    const Slot taken = std::exchange(slot, {});
    ++next_asked_;
    lock.unlock();
    room_.notify_one();
    if (taken.error) std::rethrow_exception(taken.error);
    Staging::hand_over(taken.batch.input);
    Staging::hand_over(taken.batch.target);
    return taken.batch;
  }

 private:
  struct Slot {
    Example batch;
    std::exception_ptr error;
    bool full = false;
  };

  Slot& slot_of(int64_t number) { return slots_[static_cast<size_t>(number) % slots_.size()]; }
  bool may_make() const { return next_made_ - next_asked_ < static_cast<int64_t>(slots_.size()); }
  bool is_over() const { return stopping_ || next_made_ == plan_.batches; }

  void work() {
    const SerialScope serial;
    std::optional<Staging> staging;
    for (std::unique_lock lock(mutex_);;) {
      room_.wait(lock, [&] { return is_over() || may_make(); });
      if (is_over()) return;
      const int64_t number = next_made_++;
      lock.unlock();
      Slot slot = make(number, staging);
      lock.lock();
      slot_of(number) = std::move(slot);
      made_.notify_one();
    }
  }

  // The worker's staging is made with its first batch, so that what fails there has one that it can be told with.
  Slot make(int64_t number, std::optional<Staging>& staging) const {
    try {
      if (!staging) staging.emplace(device_);
      return {(*staging)(plan_.make(number)), nullptr, true};
    } catch (...) {
      return {{}, std::current_exception(), true};
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const Plan& plan_;
  const Device device_;
  std::mutex mutex_;
  std::condition_variable room_, made_;
  int64_t next_made_, next_asked_;  // batch numbers
  bool stopping_ = false;
  std::vector<Slot> slots_;
  std::vector<std::thread> threads_;
};

void check_options(const DataLoaderOptions& o) {
  GRADUS_CHECK(o.batch >= 1, ValueError, "DataLoader: batch is {}; want 1 or more", o.batch);
  GRADUS_CHECK(o.workers >= 0 && o.workers <= 1024, ValueError, "DataLoader: workers is {}; want 0 to 1024", o.workers);
  GRADUS_CHECK(o.prefetch >= 1 && o.prefetch <= 1 << 20, ValueError, "DataLoader: prefetch is {}; want 1 or more",
               o.prefetch);
  GRADUS_CHECK(o.batch >= o.group.size(), ValueError,
               "DataLoader: batch is {} for {} ranks; it counts the rows of all together", o.batch, o.group.size());
  GRADUS_CHECK(o.shards >= 0 && o.shards <= 1 << 20, ValueError,
               "DataLoader: shards is {}; want 0 (one a rank) or more", o.shards);
}

Shared<Sampler> sampler_for(const Dataset& dataset, const DataLoaderOptions& o) {
  if (o.sampler) return o.sampler;
  if (o.shuffle) return RandomSampler(dataset.size(), o.seed);
  return SequentialSampler(dataset.size());
}

}  // namespace

SampleError::SampleError(const std::string& message, int64_t sample) : Error(message), index(sample) {}
SampleError::SampleError(const SampleError&) = default;
SampleError::~SampleError() = default;

struct DataLoader::State {
  Shared<Dataset> dataset;
  DataLoaderOptions options;
  Shared<Sampler> sampler;
  int64_t epoch = 0, position = 0;
  Example current;
  bool delivering = false;  // a loop is running and `current` is its batch
  std::unique_ptr<const Plan> plan;
  std::unique_ptr<Pipeline> pipeline;  // behind the plan it reads: destroyed first

  int64_t batches() const {
    const int64_t samples = sampler->size(), rounding = options.drop_last ? 0 : options.batch - 1;
    return (samples + rounding) / options.batch;
  }
  void begin_epoch();
  void advance();
  void forget_epoch() {
    pipeline.reset();
    plan.reset();
  }
};

void DataLoader::State::begin_epoch() {
  plan.reset(new Plan{*dataset, options, sampler->indices(epoch), batches(), epoch});
  GRADUS_CHECK(static_cast<int64_t>(plan->order.size()) == sampler->size(), ValueError,
               "DataLoader: the sampler gave {} indices for epoch {}; its size() is {}", plan->order.size(), epoch,
               sampler->size());
  if (options.workers > 0) pipeline = std::make_unique<Pipeline>(*plan, position, options);
}

/// Delivers the next batch, or finishes the epoch.
void DataLoader::State::advance() {
  current = {};  // its memory can serve the batch that comes
  delivering = false;
  if (position == batches()) {
    forget_epoch();
    ++epoch;
    position = 0;
    return;
  }
  try {
    if (!plan) begin_epoch();
    current = pipeline ? pipeline->next() : plan->make(position);
    current.input = current.input.to(options.device);
    if (current.target.defined()) current.target = current.target.to(options.device);
  } catch (...) {
    forget_epoch();
    throw;
  }
  ++position;
  delivering = true;
}

DataLoader::DataLoader(Shared<Dataset> dataset, const DataLoaderOptions& options) {
  GRADUS_CHECK(dataset, ValueError, "DataLoader: dataset is null");
  check_options(options);
  state_ = make_box<State>();
  state_->sampler = sampler_for(*dataset, options);
  state_->dataset = std::move(dataset);
  state_->options = options;
}
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader::~DataLoader() = default;

int64_t DataLoader::size() const { return state_->batches(); }
int64_t DataLoader::epoch() const { return state_->epoch; }
int64_t DataLoader::position() const { return state_->position; }

DataLoader::Iterator DataLoader::begin() {
  state_->advance();
  return Iterator(this);
}
Example& DataLoader::Iterator::operator*() const { return loader_->state_->current; }
DataLoader::Iterator& DataLoader::Iterator::operator++() {
  loader_->state_->advance();
  return *this;
}
bool DataLoader::Iterator::operator==(std::default_sentinel_t) const { return !loader_->state_->delivering; }

NamedTensors DataLoader::state_dict() const {
  const State& s = *state_;
  return {{"epoch", scalar_tensor(s.epoch)},
          {"position", scalar_tensor(s.position)},
          {"samples", scalar_tensor(s.sampler->size())},
          {"batch", scalar_tensor(s.options.batch)},
          {"seed", scalar_tensor(static_cast<int64_t>(s.options.seed))}};
}

void DataLoader::load_state_dict(const NamedTensors& state) {
  State& s = *state_;
  gradus::detail::StateCheck check("loader", state);
  const int64_t epoch = check.take_int("epoch"), position = check.take_int("position");
  const int64_t samples = check.take_int("samples"), batch = check.take_int("batch"), seed = check.take_int("seed");
  check.finish();
  GRADUS_CHECK(samples == s.sampler->size() && batch == s.options.batch && seed == static_cast<int64_t>(s.options.seed),
               CheckpointError,
               "loader: the state is of {} samples in batches of {} with seed {}; this loader has {}, {} and {}, which "
               "are other batches",
               samples, batch, seed, s.sampler->size(), s.options.batch, s.options.seed);
  GRADUS_CHECK(epoch >= 0 && position >= 0 && position <= size(), CheckpointError,
               "loader: epoch {}, position {} is no place in epochs of {} batches", epoch, position, size());
  s.forget_epoch();
  s.epoch = epoch;
  s.position = position;
}

}  // namespace gradus::data
