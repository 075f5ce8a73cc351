// One poll() over all pipes. Whole lines are written at once, so that those of different workers do not mix.
#include "output.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string_view>

#include "console.h"

namespace gradus::run {
namespace {

/// A longer line is broken here.
constexpr size_t longest_line = 64 << 10;
/// Seconds for what is left in the pipes after all workers have ended.
constexpr double patience = 2;

}  // namespace

Output::Output(std::vector<Source> sources) : sources_(std::move(sources)), wake_(eventfd(0, EFD_CLOEXEC)) {
  for (const Source& source : sources_) {
    if (!source.out) continue;  // was not started
    streams_.push_back({&source, &source.out, STDOUT_FILENO});
    streams_.push_back({&source, &source.err, STDERR_FILENO});
  }
  thread_ = std::thread([this] { run(); });
}

Output::~Output() {
  const uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void Output::run() {
  std::optional<dist::detail::Deadline> end;
  for (;;) {
    std::vector<pollfd> polled{{end ? -1 : wake_.get(), POLLIN, 0}};
    size_t open = 0;
    for (const Stream& stream : streams_) {
      polled.push_back({stream.open ? stream.fd->get() : -1, POLLIN, 0});
      open += stream.open;
    }
    if (end && (open == 0 || end->passed())) break;
    if (poll(polled.data(), polled.size(), end ? end->poll_ms() : -1) < 0) continue;
    if (polled[0].revents) end.emplace(patience);
    for (size_t i = 0; i < streams_.size(); ++i)
      if (polled[i + 1].revents) read(streams_[i]);
  }
  for (Stream& stream : streams_)
    if (!stream.rest.empty()) emit(stream, stream.rest + '\n');
}

void Output::read(Stream& stream) {
  char buffer[longest_line];
  const ssize_t n = ::read(stream.fd->get(), buffer, sizeof buffer);
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) {
    stream.open = false;
    return;
  }
  stream.rest.append(buffer, static_cast<size_t>(n));
  if (const size_t end = stream.rest.rfind('\n'); end != std::string::npos) {
    emit(stream, std::string_view(stream.rest).substr(0, end + 1));
    stream.rest.erase(0, end + 1);
  }
  if (stream.rest.size() >= longest_line) {
    emit(stream, stream.rest + '\n');
    stream.rest.clear();
  }
}

void Output::emit(const Stream& stream, std::string_view lines) {
  if (stream.source->log) write_all(stream.source->log.get(), lines);
  if (!stream.source->to_terminal) return;
  if (stream.source->prefix.empty()) {
    write_all(stream.terminal, lines);
    return;
  }
  std::string text;
  while (!lines.empty()) {
    const size_t end = lines.find('\n') + 1;
    text.append(stream.source->prefix).append(lines.substr(0, end));
    lines.remove_prefix(end);
  }
  write_all(stream.terminal, text);
}

}  // namespace gradus::run
