// The loop of the fuzzer: damage, measuring, and telling apart what is new.
#include "engine.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <random>
#include <set>

#include <fmt/format.h>

#include <gradus/core/allocator.h>
#include <gradus/core/error.h>

#ifdef __SANITIZE_ADDRESS__  // what g++ 12 of Debian has no header for
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, size_t),
                                              void (*on_free)(const volatile void*));
size_t __sanitizer_get_allocated_size(const volatile void* block);
void __sanitizer_set_death_callback(void (*callback)());
int __lsan_do_recoverable_leak_check();
}
#endif

using namespace std::literals;

namespace fuzz {
namespace {

// ---- damage

class Damage {
 public:
  explicit Damage(uint64_t seed) : random_(seed) {}

  size_t below(size_t n) { return n ? random_() % n : 0; }

  std::string next(const std::vector<std::string>& corpus) {
    std::string bytes = corpus[below(corpus.size())];
    for (size_t rounds = 1 + below(4); rounds > 0; --rounds) once(bytes, corpus[below(corpus.size())]);
    if (below(500) == 0) repeat(bytes, 1 + below(64), 1 << (10 + below(10)));
    return bytes;
  }

 private:
  void once(std::string& bytes, const std::string& other) {
    switch (below(10)) {
      case 0: return set(bytes, below(bytes.size()), static_cast<char>(random_()));
      case 1: return set(bytes, below(bytes.size()), strange_bytes[below(strange_bytes.size())]);
      case 2: return overwrite(bytes);
      case 3: return replace_number(bytes);
      case 4: return void(bytes.erase(below(bytes.size()), 1 + below(16)));
      case 5: return void(bytes.resize(below(bytes.size() + 1)));
      case 6: return void(bytes.insert(below(bytes.size() + 1), part(other)));
      case 7: return void(bytes.insert(below(bytes.size() + 1), part(bytes)));
      case 8: return repeat(bytes, 1 + below(8), 64);
      default:
        if (!bytes.empty()) bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
    }
  }
  static void set(std::string& bytes, size_t at, char c) {
    if (at < bytes.size()) bytes[at] = c;
  }
  std::string part(const std::string& bytes) { return bytes.substr(below(bytes.size()), 1 + below(32)); }
  void repeat(std::string& bytes, size_t length, size_t limit) {
    const size_t at = below(bytes.size());
    const std::string piece = bytes.substr(at, length);
    std::string many;
    while (!piece.empty() && many.size() < limit) many += piece;
    bytes.insert(at, many);
  }
  uint64_t strange_number() {
    const uint64_t power = uint64_t{1} << below(64);
    const uint64_t numbers[] = {0, 1, ~uint64_t{0}, power, power - 1, power + 1, below(300), random_()};
    return numbers[below(std::size(numbers))];
  }
  /// A binary number of 1, 2, 4 or 8 bytes, of either byte order.
  void overwrite(std::string& bytes) {
    const size_t size = size_t{1} << below(4);
    if (bytes.size() < size) return;
    const uint64_t number = strange_number();
    char raw[8];
    std::memcpy(raw, &number, 8);
    if (below(2)) std::reverse(raw, raw + size);
    bytes.replace(below(bytes.size() - size + 1), size, raw, size);
  }
  /// One that is written in digits.
  void replace_number(std::string& bytes) {
    const size_t begin = bytes.find_first_of("0123456789", below(bytes.size()));
    if (begin == bytes.npos) return overwrite(bytes);
    const size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    const uint64_t number = strange_number();
    bytes.replace(begin, end - begin, below(2) ? std::to_string(number) : std::to_string(static_cast<int64_t>(number)));
  }

  static constexpr std::string_view strange_bytes = "\0\1\x7f\x80\xff\xc3[]{}()\"'\\:,;= \t\r\n-+.0e9/"sv;
  std::mt19937_64 random_;
};

// ---- memory

std::atomic<int64_t> live{0}, peak{0};

#ifdef __SANITIZE_ADDRESS__
void count(const volatile void*, size_t bytes) {
  const int64_t now = live += static_cast<int64_t>(bytes);
  int64_t before = peak;
  while (before < now && !peak.compare_exchange_weak(before, now)) {
  }
}
void count_freed(const volatile void* block) {
  if (block) live -= static_cast<int64_t>(__sanitizer_get_allocated_size(block));
}
const int hooks = __sanitizer_install_malloc_and_free_hooks(count, count_freed);
bool leaks() { return __lsan_do_recoverable_leak_check() != 0; }
#else
bool leaks() { return false; }
#endif

// ---- the input at hand, should the program die of it

std::string current_input, current_file;

void keep_current() {
  const int fd = open(current_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) return;
  (void)!write(fd, current_input.data(), current_input.size());
  close(fd);
  constexpr std::string_view before = "the input is ";
  (void)!write(STDERR_FILENO, before.data(), before.size());
  (void)!write(STDERR_FILENO, current_file.data(), current_file.size());
  (void)!write(STDERR_FILENO, "\n", 1);
}
std::string kept_as(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '-';
  return (std::filesystem::temp_directory_path() / ("gradus-fuzz-" + name)).string();
}
void watch_for_death() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(keep_current);
#endif
  signal(SIGALRM, [](int) {  // it hangs
    keep_current();
    abort();
  });
}

// ---- answers

/// A message without its numbers and quotations.
std::string outline(const std::string& message) {
  std::string text;
  for (size_t at = 0; at < message.size() && text.size() < 200; ++at) {
    const char c = message[at];
    if (c == '\'' || c == '"') at = std::min(message.rfind(c), message.size() - 1);
    if (!std::isdigit(static_cast<unsigned char>(c))) text += c;
  }
  return text;
}

constexpr size_t largest_corpus = 3000, longest_kept = 4096;
constexpr unsigned hangs_after = 60;  // seconds

}  // namespace

Report run(const Parser& parser, uint64_t seed, const std::function<bool(int64_t)>& goes_on) {
  Report report;
  Damage damage(seed);
  std::vector<std::string> corpus = parser.seeds, undamaged = parser.seeds;
  undamaged.insert(undamaged.end(), parser.samples.begin(), parser.samples.end());
  std::set<std::string> answers;
  const std::string prefix = kept_as(parser.name);
  watch_for_death();
  for (; goes_on(report.inputs); ++report.inputs) {
    current_input = undamaged.empty() ? damage.next(corpus) : undamaged.back();
    if (!undamaged.empty()) undamaged.pop_back();
    current_file = fmt::format("{}-{}-{}", prefix, seed, report.inputs);
    const auto found = [&](const std::string& what) {
      if (report.findings.size() < 20) {
        keep_current();
        report.findings.push_back(
            fmt::format("{}: {} ({} bytes in {})", parser.name, what, current_input.size(), current_file));
      }
    };
    if (current_input.size() > longest_kept) gradus::release_memory_cache();
    const int64_t before = live;
    peak = before;
    const clock_t start = clock();
    std::string answer = "accepted";
    alarm(hangs_after);
    try {
      parser.read(current_input);
      ++report.accepted;
    } catch (const gradus::OutOfMemoryError& error) {
      found(error.what());
    } catch (const gradus::Error& error) {
      answer = outline(error.what());
    } catch (const std::exception& error) {
      found(fmt::format("an untyped error, {}", error.what()));
    }
    alarm(0);
    const double seconds = static_cast<double>(clock() - start) / CLOCKS_PER_SEC;
    const int64_t memory = peak - before;
    const double times = static_cast<double>(std::max<int64_t>(0, memory - buffers)) /
                         static_cast<double>(std::max<int64_t>(1, parser.stands_for(current_input)));
    if (seconds > most_seconds) found(fmt::format("{:.2f} s", seconds));
    if (times > most_times_the_input) found(fmt::format("{} bytes of memory", memory));
    report.slowest = std::max(report.slowest, seconds);
    report.largest = std::max(report.largest, times);
    report.most_memory = std::max(report.most_memory, memory);
    if (answers.insert(answer).second && corpus.size() < largest_corpus && current_input.size() <= longest_kept)
      corpus.push_back(current_input);
  }
  report.answers = answers.size();
  if (leaks()) report.findings.push_back(parser.name + ": memory leaks");
  return report;
}

}  // namespace fuzz
