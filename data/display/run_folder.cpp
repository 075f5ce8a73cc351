// Makes run folders; writes and reads metrics.jsonl.
#include <gradus/data/display/run_folder.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include <gradus/core/error.h>

namespace gradus {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t longest_line = size_t{1} << 20;
constexpr int most_tries = 10'000;  // folders of the same second
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::string quoted(std::string_view text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string number_text(double value) {
  if (std::isnan(value)) return "\"NaN\"";
  if (std::isinf(value)) return value < 0 ? "\"-Infinity\"" : "\"Infinity\"";
  return fmt::format("{}", value);  // the shortest text that reads back as the same number
}

std::optional<double> number_of(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_null()) return nan;
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  if (text == "NaN") return nan;
  if (text == "Infinity") return infinity;
  if (text == "-Infinity") return -infinity;
  return std::nullopt;
}

/// The row of a line, nothing when the line is no flat JSON object.
std::optional<MetricsRow> parse_row(const std::string& line) {
  if (line.size() > longest_line) return std::nullopt;
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  MetricsRow row;
  for (const auto& [name, value] : object.items()) {
    if (const auto number = number_of(value)) {
      row.numbers.emplace_back(name, *number);
    } else if (value.is_string()) {
      row.texts.emplace_back(name, value.get<std::string>());
    } else {
      return std::nullopt;
    }
  }
  return row;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// One line without its newline; reads no more than a line may have, and tells whether there was one to read.
bool read_line(std::FILE* file, std::string& line) {
  line.clear();
  for (int c = getc_unlocked(file); c != EOF; c = getc_unlocked(file)) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
    if (line.size() > longest_line) return true;
  }
  return !line.empty();
}

/// What a metrics.jsonl holds, and how many of its bytes are complete lines.
struct Content {
  MetricsLog log;
  int64_t complete_bytes = 0;
};

Content read_content(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) throw IoError(fmt::format("read_metrics: cannot open {}: {}", path, std::strerror(errno)));
  Content content;
  std::string line;
  for (int64_t number = 1; read_line(file.get(), line); ++number) {
    if (content.log.torn_lines > 0 || line.size() > longest_line) {
      throw IoError(fmt::format("read_metrics: {}, line {} is no flat JSON object; repair or remove the file", path,
                                number - content.log.torn_lines));
    }
    if (auto row = parse_row(line)) {
      content.log.rows.push_back(std::move(*row));
      content.complete_bytes += static_cast<int64_t>(line.size()) + 1;
    } else {
      content.log.torn_lines = 1;  // an error if another line follows
    }
  }
  if (std::ferror(file.get()))
    throw IoError(fmt::format("read_metrics: cannot read {}: {}", path, std::strerror(errno)));
  return content;
}

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d_%H-%M-%S", &parts);
  return text;
}

fs::path make_folder(const fs::path& root) {
  std::error_code error;
  fs::create_directories(root, error);
  if (error) throw IoError(fmt::format("RunFolder: cannot make {}: {}", root.string(), error.message()));
  const std::string time = local_time();
  for (int i = 1; i <= most_tries; ++i) {
    const fs::path path = root / (i == 1 ? time : fmt::format("{}-{}", time, i));
    if (fs::create_directory(path, error)) return path;  // false without an error: it is taken
    if (error) throw IoError(fmt::format("RunFolder: cannot make {}: {}", path.string(), error.message()));
  }
  throw IoError(fmt::format("RunFolder: {} has {} folders of this second", root.string(), most_tries));
}

fs::path find_folder(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    throw IoError(fmt::format("RunFolder: no folder {} to resume; name one that a run has made", path.string()));
  }
  return path;
}

/// Leaves a metrics.jsonl that ends with a whole line, so that the next one does not grow onto a torn one.
void repair_tail(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  const int64_t complete = read_content(path).complete_bytes;
  const auto size = static_cast<int64_t>(fs::file_size(path, error));
  if (!error && size > complete) fs::resize_file(path, static_cast<uintmax_t>(complete), error);
  if (!error && size < complete) std::ofstream(path, std::ios::app) << '\n';  // only the newline was missing
  if (error) throw IoError(fmt::format("RunFolder: cannot repair {}: {}", path.string(), error.message()));
}

/// Where the folder of a launcher's job is found by its next attempt.
fs::path link_of(const fs::path& root, std::string job) {
  for (char& c : job)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') c = '_';
  return root / (".job-" + job);
}

/// Leads the job's link to the folder, in one step.
void link_to(const fs::path& link, const fs::path& folder) {
  const fs::path fresh = fmt::format("{}.{}", link.string(), getpid());
  std::error_code error;
  fs::create_directory_symlink(folder.filename(), fresh, error);
  if (!error) fs::rename(fresh, link, error);
  if (error) throw IoError(fmt::format("RunFolder: cannot make {}: {}", link.string(), error.message()));
}

/// The folder with a metrics.jsonl that can be written on.
fs::path prepare_folder(const RunFolderOptions& options) {
  const dist::Env& env = options.group.env();
  const fs::path link = link_of(options.root, env.job);
  std::error_code error;
  const fs::path before = env.job.empty() || env.attempt == 0 ? fs::path() : fs::read_symlink(link, error);
  const fs::path folder = !options.resume.empty() ? find_folder(options.resume)
                          : !before.empty()       ? find_folder(fs::path(options.root) / before.filename())
                                                  : make_folder(options.root);
  if (options.resume.empty() && before.empty() && !env.job.empty()) link_to(link, folder);
  repair_tail(folder / "metrics.jsonl");
  std::ofstream(folder / "metrics.jsonl", std::ios::app);  // there is one to read from now on
  return folder;
}

/// Rank 0 prepares the folder and tells the others where it is, or why there is none.
std::string shared_folder(const RunFolderOptions& options) {
  const dist::ProcessGroup& group = options.group;
  std::string told;
  if (group.rank() == 0) try {
      told = fmt::format("+{}", prepare_folder(options).string());
    } catch (const std::exception& e) {
      told = fmt::format("-{}", e.what());
    }
  told = group.all_gather_text(told)[0];
  if (told[0] == '-') throw IoError(told.substr(1));
  return told.substr(1);
}

}  // namespace

LogField::LogField(std::string_view name, std::string_view text) : json_(quoted(name) + ":" + quoted(text)) {}
LogField::LogField(std::string_view name, bool truth) : json_(quoted(name) + (truth ? ":true" : ":false")) {}
LogField::LogField(std::string_view name, Number number) : json_(quoted(name) + ":" + number_text(number.value)) {}
LogField::LogField(std::string_view name, Integer number) : json_(fmt::format("{}:{}", quoted(name), number.value)) {}
LogField::LogField(std::string_view name, Natural number) : json_(fmt::format("{}:{}", quoted(name), number.value)) {}

std::optional<double> MetricsRow::number(std::string_view name) const {
  const auto found =
      std::find_if(numbers.begin(), numbers.end(), [&](const auto& entry) { return entry.first == name; });
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

Series MetricsLog::series(std::string_view x, std::string_view y) const {
  Series curve{std::string(y), {}, {}};
  for (const MetricsRow& row : rows) {
    const auto at = row.number(x), value = row.number(y);
    if (!at || !value || !std::isfinite(*at)) continue;
    while (!curve.x.empty() && curve.x.back() >= *at) {
      curve.x.pop_back();
      curve.y.pop_back();
    }
    curve.x.push_back(*at);
    curve.y.push_back(*value);
  }
  return curve;
}

MetricsLog read_metrics(const std::string& path) { return read_content(path).log; }

struct RunFolder::State {
  explicit State(const RunFolderOptions& options)
      : path(shared_folder(options)), metrics(path + "/metrics.jsonl"), writes(options.group.rank() == 0) {
    if (!writes) return;
    fd = open(metrics.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) throw IoError(fmt::format("RunFolder: cannot open {}: {}", metrics, std::strerror(errno)));
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (writes) close(fd);
  }

  std::string path, metrics;
  bool writes;
  int fd = -1;
};

RunFolder::RunFolder(const RunFolderOptions& options) : state_(make_box<State>(options)) {}
RunFolder::RunFolder(RunFolder&&) noexcept = default;
RunFolder& RunFolder::operator=(RunFolder&&) noexcept = default;
RunFolder::~RunFolder() = default;

const std::string& RunFolder::path() const { return state_->path; }

std::string RunFolder::file(std::string_view name) const {
  const fs::path inside = fs::path(name).lexically_normal();
  if (inside.empty() || inside.is_absolute() || *inside.begin() == ".." || inside == ".") {
    throw ValueError(fmt::format("RunFolder::file: \"{}\" is no name of a file in {}", name, path()));
  }
  return (fs::path(path()) / inside).string();
}

void RunFolder::log(std::initializer_list<LogField> fields) {
  if (!state_->writes) return;
  std::string line = "{";
  for (const LogField& field : fields) line += (line.size() > 1 ? "," : "") + field.json();
  line += "}\n";
  // One write: lines of several threads do not mix. What was written of a line that does not fit is taken back.
  ssize_t written = 0;
  do {
    written = write(state_->fd, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(line.size())) return;
  const int error = written < 0 ? errno : ENOSPC;
  const off_t end = lseek(state_->fd, 0, SEEK_END);
  if (written > 0 && end >= written) std::ignore = ftruncate(state_->fd, end - written);
  throw IoError(fmt::format("RunFolder::log: cannot write {}: {}", state_->metrics, std::strerror(error)));
}

MetricsLog RunFolder::metrics() const { return read_metrics(state_->metrics); }

}  // namespace gradus
