// The scheduler: a CUDA thread runs on the current fiber until it has to wait; only then is another fiber taken. A
// kernel without barriers never switches.
#include "scheduler.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "fiber.h"
#include "random.h"
#include "sanitizers.h"

namespace gradus::emulation {

thread_local Place place;

namespace {

constexpr int warp_size = 32;
constexpr size_t red_zone = 64;
constexpr unsigned char red = 0xa5, uninitialised = 0xff;  // as floats, and as bfloat16, all ones is a NaN

Order order;
Counters total;

std::string text(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }
std::string text(uint3 at) {
  std::string s(1, '(');  // g++ 12 warns of "(" + a temporary
  return s += std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

enum class State : uint8_t { fresh, ready, at_barrier, in_warp, ended };

struct Meeting {
  unsigned mask = 0, arrived = 0, left = 0;
  const char* operation = "";
  Site site;
  uint64_t values[warp_size];
};

struct Thread {
  uint3 index;
  State state = State::fresh;
  Fiber* fiber = nullptr;      // where it waits
  Meeting* meeting = nullptr;  // the one whose values it may still read
  Site site;
};

// The shared memory of the running block: arrays with red zones between them.
class SharedMemory {
 public:
  SharedMemory() {
    memory_ = static_cast<char*>(map(nullptr, 0));
    if (!memory_) throw std::bad_alloc();
    zones_.reserve(max_arrays + 1);
    arrays_.reserve(max_arrays);
  }
  ~SharedMemory() { munmap(memory_, capacity); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void start(size_t dynamic_bytes, size_t limit) {
    limit_ = limit;
    sanitizers::unpoison(memory_, used_);
    // Fresh pages, so that ThreadSanitizer does not take the next block's threads for this one's; filled here because
    // a thread of the block would seem to race with its neighbours.
    if (sanitizers::races) std::memset(map(memory_, MAP_FIXED), uninitialised, capacity);
    used_ = dynamic_ = payload_ = 0;
    arrays_.clear();
    close();
    dynamic_ = take(dynamic_bytes, 16, "dynamic shared memory");
  }

  void* array(size_t bytes, size_t alignment, const char* name) { return memory_ + take(bytes, alignment, name); }
  void* dynamic() { return memory_ + dynamic_; }

  // The name of an array beside which a kernel has written, if any.
  const char* overrun() const {
    for (size_t i = 0; i < arrays_.size(); ++i)
      for (size_t at = zones_[i + 1].first; at < zones_[i + 1].second; ++at)
        if (static_cast<unsigned char>(memory_[at]) != red) return arrays_[i];
    return nullptr;
  }
  void open() {
    for (const auto& [first, last] : zones_) sanitizers::unpoison(memory_ + first, last - first);
  }

 private:
  // Twice what a block may use, for the red zones.
  static constexpr size_t capacity = 2 * max_shared_bytes, max_arrays = 256;

  static void* map(void* at, int flags) {
    void* p = mmap(at, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
  }

  size_t take(size_t bytes, size_t alignment, const char* name) {
    const size_t first = (used_ + alignment - 1) / alignment * alignment;
    payload_ += bytes;
    if (payload_ > limit_ || first + bytes + 2 * red_zone > capacity || arrays_.size() == max_arrays)
      throw Error("wants " + std::to_string(payload_) + " bytes of shared memory for its block; the device has " +
                  std::to_string(limit_) +
                  (limit_ < max_shared_bytes ? " for a kernel without cudaFuncSetAttribute" : ""));
    if (!sanitizers::races) std::memset(memory_ + first, uninitialised, bytes);
    used_ = first + bytes;
    arrays_.push_back(name);
    close();
    return first;
  }

  // A red zone behind what is used.
  void close() {
    if (arrays_.empty()) zones_.clear();
    const size_t last = (used_ + red_zone + 15) / 16 * 16;
    std::memset(memory_ + used_, red, last - used_);
    sanitizers::poison(memory_ + used_, last - used_);
    zones_.emplace_back(used_, last);
    used_ = last;
  }

  char* memory_;
  size_t used_ = 0, dynamic_ = 0, payload_ = 0, limit_ = usual_shared_bytes;
  std::vector<std::pair<size_t, size_t>> zones_;  // zone i + 1 lies behind array i
  std::vector<const char*> arrays_;
};

// One for each OS thread: it runs grid after grid, and keeps its fibers and its shared memory.
class Scheduler {
 public:
  static Scheduler& current() {
    static thread_local Scheduler scheduler;
    return scheduler;
  }

  void run(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, size_t shared_limit,
           const std::function<void()>& body) {
    if (running_) fail("launches a kernel, " + std::string(kernel) + ", which the emulation does not do from a kernel");
    kernel_ = kernel;
    body_ = &body;
    shared_bytes_ = shared_bytes;
    shared_limit_ = shared_limit;
    random_ = Random(order.seed);
    place.grid_dim = grid;
    place.block_dim = block;
    count_ = static_cast<size_t>(block.x) * block.y * block.z;
    ++total.grids;
    try {
      run_blocks(grid);
    } catch (...) {  // fibers were left in the middle of their work
      for (auto& set : fibers_) set.clear();
      spare_.clear();
      warps_.clear();
      error_.clear();
      running_ = handed_over_ = nullptr;
      running_fiber_ = &host_;
      throw;
    }
  }

  int barrier(bool predicate, Vote vote, Site site) {
    Thread& self = *running_;
    if (waiting_ == 0) {
      barrier_site_ = site;
      votes_ = 0;
    } else if (!(site == barrier_site_)) {
      fail("waits at the barrier at " + text(site) + " while others wait at " + text(barrier_site_));
    }
    votes_ += predicate;
    ++waiting_;
    self.site = site;
    sanitizers::release(&waiting_);
    if (waiting_ == count_) {
      result_ = vote == Vote::any ? votes_ > 0 : vote == Vote::all ? votes_ == count_ : static_cast<int>(votes_);
      waiting_ = 0;
      for (Thread& t : threads_)
        if (t.state == State::at_barrier) make_ready(t);
      if (order.seed) yield(self);
    } else {
      self.state = State::at_barrier;
      if (ended_) fail_absent();
      suspend(self);
    }
    sanitizers::acquire(&waiting_);
    return result_;
  }

  const uint64_t* meet(unsigned mask, uint64_t value, const char* operation, Site site) {
    Thread& self = *running_;
    const size_t warp = index(self) / warp_size;
    const unsigned bit = 1u << (index(self) % warp_size);
    leave_meeting(self);
    if (!(mask & bit))
      fail(std::string(operation) + " with a mask that does not name the calling lane, at " + text(site));
    for (size_t l = 0; l < warp_size; ++l) {
      if (!(mask >> l & 1)) continue;
      const size_t other = warp * warp_size + l;
      if (other >= count_ || threads_[other].state == State::ended)
        fail(std::string(operation) + " at " + text(site) + " names lane " + std::to_string(l) + ", which " +
             (other >= count_ ? "the block does not have" : "has ended"));
    }
    Meeting& meeting = meeting_of(warp, mask, bit);
    if (meeting.arrived == 0) {
      meeting.mask = mask;
      meeting.operation = operation;
      meeting.site = site;
    } else if (!(meeting.site == site)) {
      fail(std::string(operation) + " at " + text(site) + " while other lanes of the mask are at " + meeting.operation +
           ", " + text(meeting.site));
    }
    meeting.arrived |= bit;
    meeting.values[index(self) % warp_size] = value;
    self.meeting = &meeting;
    self.site = site;
    sanitizers::release(&meeting);
    if (meeting.arrived == mask) {
      for (size_t l = 0; l < warp_size; ++l) {
        if (!(mask >> l & 1)) continue;
        Thread& other = threads_[warp * warp_size + l];
        if (&other != &self) make_ready(other);
      }
      if (order.seed) yield(self);
    } else {
      self.state = State::in_warp;
      suspend(self);
    }
    sanitizers::acquire(&meeting);
    return meeting.values;
  }

  unsigned lane() const { return static_cast<unsigned>(index(*running_) % warp_size); }
  void* shared_array(uint32_t number, size_t bytes, size_t alignment, const char* name) {
    if (arrays_.size() <= number) arrays_.resize(number + 1);
    Array& array = arrays_[number];
    if (array.block != block_number_) {
      try {
        array = {block_number_, shared_.array(bytes, std::max<size_t>(alignment, 16), name)};
      } catch (const Error& error) {
        fail(error.what());
      }
    }
    return array.memory;
  }
  void* dynamic_shared_array() { return shared_.dynamic(); }

  [[noreturn]] void fail(const std::string& what) { fail_at(*running_, what); }

 private:
  Scheduler() = default;

  void run_blocks(dim3 grid) {
    std::vector<uint64_t> blocks(static_cast<uint64_t>(grid.x) * grid.y * grid.z);
    std::iota(blocks.begin(), blocks.end(), uint64_t(0));
    if (order.seed) shuffle(blocks);
    for (const uint64_t i : blocks)
      run_block({static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                 static_cast<unsigned>(i / grid.x / grid.y)});
    sanitizers::acquire(&count_);
  }

  // ---- one block
  void run_block(uint3 block) {
    ++total.blocks;
    total.threads += count_;
    ++block_number_;
    place.block = block;
    shared_.start(shared_bytes_, shared_limit_);
    threads_.assign(count_, {});
    for (size_t i = 0; i < count_; ++i) {
      const unsigned n = static_cast<unsigned>(i), x = place.block_dim.x, y = place.block_dim.y;
      threads_[i].index = {n % x, n / x % y, n / x / y};
    }
    if (const size_t warps = (count_ + warp_size - 1) / warp_size; warps_.size() < warps) warps_.resize(warps);
    ready_.resize(count_);
    for (size_t i = 0; i < count_; ++i) ready_[i] = &threads_[order.seed ? i : count_ - 1 - i];
    // Seeds draw one of two ways: any ready thread, or always the warp that is first in a random order, which runs as
    // far ahead of the others as barriers let it.
    by_warp_ = order.seed && random_.below(2);
    rank_.resize(warps_.size());
    std::iota(rank_.begin(), rank_.end(), size_t(0));
    if (by_warp_) {
      shuffle(rank_);
      std::make_heap(ready_.begin(), ready_.end(), Later{*this});
    }
    waiting_ = ended_ = 0;
    recycle();
    sanitizers::release(this);

    go_to(*spare());
    if (!error_.empty()) {
      sanitizers::acquire(&count_);
      sanitizers::acquire(&host_);
      throw Error(error_);
    }
    if (ended_ != count_) fail_stuck();
    shared_.open();
    if (const char* name = shared_.overrun())
      throw Error(prefix() + "block " + text(block) + " wrote outside the shared array " + name);
  }

  // What a fiber does that runs no thread: it takes the next one. Leaves for good when there is none.
  static void begin(void* self) { static_cast<Scheduler*>(self)->work(); }
  void work() {
    for (uint64_t used_for = 0;;) {  // the block of which it ran a thread
      Thread* next = take();
      if (!next) {
        retire();
        go_to(host_);
      } else if (next->fiber) {
        retire();
        go_to(*next->fiber);
      } else if (used_for == block_number_ && sanitizers::races) {
        handed_over_ = next;
        retire();
        go_to(*spare());
      } else {
        used_for = block_number_;
        start(*next);
      }
    }
  }

  void start(Thread& t) {
    running_ = &t;
    place.thread = t.index;
    sanitizers::acquire(this);
    try {
      (*body_)();
      end(t);
    } catch (const std::exception& error) {
      error_ = error.what();
    }
    sanitizers::release(&count_);
    if (!error_.empty()) go_to(host_);  // for good: the block is given up
    running_ = nullptr;
  }

  void end(Thread& t) {
    leave_meeting(t);
    t.state = State::ended;
    ++ended_;
    if (waiting_) fail_at(t, "has ended while others wait at the barrier at " + text(barrier_site_));
    const unsigned bit = 1u << (index(t) % warp_size);
    for (const Meeting& meeting : warps_[index(t) / warp_size])
      if (meeting.arrived && meeting.arrived != meeting.mask && (meeting.mask & bit))
        fail_at(t, "has ended while other lanes wait for it in " + std::string(meeting.operation) + " at " +
                       text(meeting.site));
  }

  // ---- waiting
  void suspend(Thread& self) {
    sanitizers::release(&host_);  // in case it never comes back
    self.fiber = running_fiber_;
    Thread* next = take();
    if (!next) go_to(host_);
    if (next->fiber) {
      if (next != &self) go_to(*next->fiber);
    } else {
      handed_over_ = next;
      go_to(*spare());
    }
    self.fiber = nullptr;
    running_ = &self;
    place.thread = self.index;
  }
  void yield(Thread& self) {
    make_ready(self);
    suspend(self);
  }
  void make_ready(Thread& t) {
    t.state = State::ready;
    ready_.push_back(&t);
    if (by_warp_) std::push_heap(ready_.begin(), ready_.end(), Later{*this});
  }
  // Of two ready threads, whether the first is of the warp that runs later: makes a heap of ready_ when by_warp_.
  struct Later {
    const Scheduler& scheduler;
    size_t rank(const Thread* t) const { return scheduler.rank_[scheduler.index(*t) / warp_size]; }
    bool operator()(const Thread* a, const Thread* b) const { return rank(a) > rank(b); }
  };

  // The next thread to run, or null. Without a seed the last one that became ready, so that each runs on as far as it
  // can.
  Thread* take() {
    if (handed_over_) return std::exchange(handed_over_, nullptr);
    if (ready_.empty()) return nullptr;
    if (by_warp_)
      std::pop_heap(ready_.begin(), ready_.end(), Later{*this});
    else if (order.seed)
      std::swap(ready_[random_.below(ready_.size())], ready_.back());
    Thread* t = ready_.back();
    ready_.pop_back();
    return t;
  }

  // ---- meetings of lanes
  Meeting& meeting_of(size_t warp, unsigned mask, unsigned bit) {
    for (Meeting& m : warps_[warp])
      if (m.arrived && m.mask == mask && m.arrived != mask && !(m.arrived & bit)) return m;
    // A lane holds on to one meeting at most, and the caller to none: of 32 there is a free one.
    return *std::find_if(warps_[warp].begin(), warps_[warp].end(), [](const Meeting& m) { return !m.arrived; });
  }
  void leave_meeting(Thread& t) {
    if (!t.meeting) return;
    Meeting& m = *std::exchange(t.meeting, nullptr);
    m.left |= 1u << (index(t) % warp_size);
    if (m.left == m.mask) m.arrived = m.left = 0;
  }

  // ---- fibers
  void go_to(Fiber& to) {
    ++total.switches;
    Fiber& from = *running_fiber_;
    running_fiber_ = &to;
    Fiber::switch_to(from, to);
  }
  Fiber* spare() {
    if (spare_.empty()) add_fiber();
    Fiber* fiber = spare_.back();
    spare_.pop_back();
    return fiber;
  }
  void retire() {
    if (!sanitizers::races) spare_.push_back(running_fiber_);
  }
  // ThreadSanitizer would take a stack that another thread uses again for a race: there a fiber runs one thread of a
  // block. Two sets of fibers take turns, so that it tells the threads of a block from those of the next; to make them
  // for each block would take most of the time. All are made beforehand: what a fiber allocates, another could not free
  // without a report.
  void recycle() {
    if (!sanitizers::races) return;
    spare_.clear();
    for (const auto& fiber : fibers_[block_number_ % 2]) spare_.push_back(fiber.get());
    while (spare_.size() <= count_) add_fiber();
  }
  void add_fiber() {
    auto& set = fibers_[sanitizers::races ? block_number_ % 2 : 0];
    set.push_back(std::make_unique<Fiber>(&Scheduler::begin, this));
    spare_.push_back(set.back().get());
  }

  // ---- errors
  std::string prefix() const { return "[CUDA emulation] " + std::string(kernel_) + ": "; }
  // Unwinds the thread, back to start(): what it holds is let go.
  [[noreturn]] void fail_at(const Thread& t, const std::string& what) {
    throw Error(prefix() + "block " + text(place.block) + " thread " + text(t.index) + " " + what);
  }
  void fail_absent() {
    for (const Thread& t : threads_)
      if (t.state == State::ended)
        fail("waits at the barrier at " + text(running_->site) + ", but thread " + text(t.index) + " has ended");
  }
  // Nothing is left that could run: who waits for what.
  void fail_stuck() {
    std::string message = prefix() + "block " + text(place.block) + " is stuck";
    int named = 0;
    for (const Thread& t : threads_) {
      if (t.state != State::at_barrier && t.state != State::in_warp) continue;
      if (++named > 4) break;
      message += "; thread " + text(t.index) + " waits at " + text(t.site);
    }
    throw Error(message);
  }

  size_t index(const Thread& t) const { return static_cast<size_t>(&t - threads_.data()); }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random_.below(i)]);
  }

  const char* kernel_ = "";
  const std::function<void()>* body_ = nullptr;
  size_t shared_bytes_ = 0, shared_limit_ = usual_shared_bytes, count_ = 0;
  Random random_{0};
  SharedMemory shared_;
  struct Array {
    uint64_t block = 0;  // which asked for it last
    void* memory = nullptr;
  };
  std::vector<Array> arrays_;  // by their numbers
  uint64_t block_number_ = 0;  // never the same twice
  std::vector<Thread> threads_;
  std::vector<std::array<Meeting, warp_size>> warps_;  // free again when all lanes have left, so at the end of a block
  std::vector<Thread*> ready_;
  std::vector<size_t> rank_;
  bool by_warp_ = false;
  Thread* running_ = nullptr;
  Thread* handed_over_ = nullptr;  // taken already, for the fiber that is switched to
  size_t waiting_ = 0, ended_ = 0, votes_ = 0;
  int result_ = 0;
  Site barrier_site_;
  std::string error_;
  Fiber host_;
  Fiber* running_fiber_ = &host_;
  std::vector<std::unique_ptr<Fiber>> fibers_[2];
  std::vector<Fiber*> spare_;
};

}  // namespace

void check_launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const auto refuse = [&](const std::string& what) {
    throw Error("[CUDA emulation] " + std::string(kernel) + ": invalid launch configuration: " + what);
  };
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("an empty grid");
  if (threads == 0) refuse("an empty block");
  if (threads > max_threads_per_block || block.z > 64) refuse(std::to_string(threads) + " threads in a block");
  if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) refuse("a grid that is too large");
  if (shared_bytes > max_shared_bytes) refuse(std::to_string(shared_bytes) + " bytes of dynamic shared memory");
}

void set_order(Order value) { order = value; }
Order current_order() { return order; }
Counters counters() { return total; }

void run_grid(const char* kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes,
              const std::function<void()>& thread, size_t shared_limit) {
  check_launch(kernel, grid, block, dynamic_shared_bytes);
  Scheduler::current().run(kernel, grid, block, dynamic_shared_bytes, shared_limit, thread);
}

void* shared_array(SharedKey& key, size_t bytes, size_t alignment, const char* name) {
  static std::atomic<uint32_t> numbers = 0;
  uint32_t number = key.number.load(std::memory_order_relaxed);
  if (number == 0) {
    const uint32_t fresh = ++numbers;
    if (key.number.compare_exchange_strong(number, fresh)) number = fresh;  // else another thread was first
  }
  return Scheduler::current().shared_array(number, bytes, alignment, name);
}
void* dynamic_shared_array() { return Scheduler::current().dynamic_shared_array(); }
int block_barrier(bool predicate, Vote vote, Site site) { return Scheduler::current().barrier(predicate, vote, site); }
const uint64_t* warp_meeting(unsigned mask, uint64_t value, const char* operation, Site site) {
  return Scheduler::current().meet(mask, value, operation, site);
}
unsigned lane() { return Scheduler::current().lane(); }

}  // namespace gradus::emulation
