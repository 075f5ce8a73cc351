// A store in a folder that all processes see: a file a key. Files appear whole, by rename or link; what reads and then
// writes holds a lock that the kernel takes from a process that dies. It needs nobody who serves it, and notices
// nothing: waiting is looking again.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

#include <gradus/distributed/detail/fd.h>
#include <gradus/distributed/detail/store_kind.h>
#include <gradus/distributed/detail/store_wire.h>

namespace gradus::dist::detail {
namespace {

class FileStore final : public StoreKind {
 public:
  FileStore(const std::string& url, const StoreOptions& options);

  void set(const std::string& key, const std::string& value) override;
  std::string get(const std::string& key, double timeout) override;
  std::optional<std::string> find(const std::string& key) override { return read(key, path(key)); }
  int64_t add(const std::string& key, int64_t number) override;
  std::string set_once(const std::string& key, const std::string& value) override;
  bool leave_will(const std::string&, const std::string&) override { return false; }
  void close() override {}

 private:
  std::string path(const std::string& key) const;
  std::optional<std::string> read(const std::string& key, const std::string& path) const;
  /// A file of its own with the value; its name.
  std::string write_beside(const std::string& key, const std::string& value) const;
  void replace(const std::string& key, const std::string& value) const;
  /// Waits until no other process has it; released with the descriptor.
  Fd lock_folder(const std::string& key) const;
  [[noreturn]] void fail_because_of_errno(const std::string& key, const char* action) const {
    fail(key,
         fmt::format("cannot {}: {}; all processes need the folder and may write there", action, std::strerror(errno)));
  }

  std::string folder_;
};

FileStore::FileStore(const std::string& url, const StoreOptions& options)
    : StoreKind(url, options), folder_(url.substr(7)) {
  if (!folder_.starts_with('/')) fail("", "want file:///folder, an absolute path");
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) fail("", fmt::format("cannot make the folder: {}", error.message()));
}

/// Key bytes that could mean something in a path are written as %XX, so that each key is one name in the folder.
std::string FileStore::path(const std::string& key) const {
  std::string name = "key-";
  for (const char c : full(key)) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    plain ? name.push_back(c)
          : (void)fmt::format_to(std::back_inserter(name), "%{:02x}", static_cast<unsigned char>(c));
  }
  if (name.size() > NAME_MAX) fail(key, fmt::format("too long to be the name of a file ({} bytes)", name.size()));
  return fmt::format("{}/{}", folder_, name);
}

std::optional<std::string> FileStore::read(const std::string& key, const std::string& path) const {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return {};
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) fail_because_of_errno(key, "read");
  if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(max_value))
    fail(key, fmt::format("{} is no value of a store", path));
  std::string value(static_cast<size_t>(status.st_size), '\0');
  for (size_t done = 0; done < value.size();) {
    const ssize_t n = ::read(fd.get(), value.data() + done, value.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_because_of_errno(key, "read");
    if (n == 0) fail(key, fmt::format("{} became shorter while it was read", path));
    done += static_cast<size_t>(n);
  }
  return value;
}

std::string FileStore::write_beside(const std::string& key, const std::string& value) const {
  std::string name = folder_ + "/new-XXXXXX";  // unique among machines, too
  const Fd fd(mkostemp(name.data(), O_CLOEXEC));
  if (!fd) fail_because_of_errno(key, "make a file");
  fchmod(fd.get(), 0644);
  for (size_t done = 0; done < value.size();) {
    const ssize_t n = ::write(fd.get(), value.data() + done, value.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      ::unlink(name.c_str());
      errno = error;
      fail_because_of_errno(key, "write");
    }
    done += static_cast<size_t>(n);
  }
  return name;
}

void FileStore::replace(const std::string& key, const std::string& value) const {
  const std::string file = write_beside(key, value);
  if (::rename(file.c_str(), path(key).c_str()) != 0) fail_because_of_errno(key, "rename");
}

Fd FileStore::lock_folder(const std::string& key) const {
  Fd fd(::open((folder_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd) fail_because_of_errno(key, "open the lock");
  const auto locked = [&]() -> std::optional<std::string> {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return "";
    if (errno != EWOULDBLOCK && errno != EINTR) fail_because_of_errno(key, "lock");
    return {};
  };
  if (!poll_for(locked, options_.timeout))
    fail(key, fmt::format("another process has held {}/lock for {:g} s; it may be stopped", folder_, options_.timeout),
         CommError::Kind::timeout);
  return fd;
}

void FileStore::set(const std::string& key, const std::string& value) {
  check_value(key, value);
  const std::lock_guard one(mutex_);
  const Fd lock = lock_folder(key);
  replace(key, value);
}

std::string FileStore::get(const std::string& key, double timeout) {
  const std::string file = path(key);
  auto value = poll_for([&] { return read(key, file); }, timeout);
  if (!value) fail_missing(key, timeout);
  return std::move(*value);
}

int64_t FileStore::add(const std::string& key, int64_t number) {
  const std::lock_guard one(mutex_);
  const Fd lock = lock_folder(key);
  int64_t sum = 0;
  try {
    sum = add_to_text(read(key, path(key)).value_or("0"), number);
  } catch (const CommError&) {
    throw;
  } catch (const std::runtime_error& error) {
    fail(key, error.what());
  }
  replace(key, std::to_string(sum));
  return sum;
}

std::string FileStore::set_once(const std::string& key, const std::string& value) {
  check_value(key, value);
  const std::string target = path(key), file = write_beside(key, value);
  const bool mine = ::link(file.c_str(), target.c_str()) == 0;
  const int error = errno;
  ::unlink(file.c_str());
  if (mine) return value;
  errno = error;
  if (error != EEXIST) fail_because_of_errno(key, "link");
  return read(key, target).value_or(value);
}

}  // namespace

Box<Store> open_file_store(const std::string& url, const StoreOptions& options) {
  return make_box<FileStore>(url, options);
}

}  // namespace gradus::dist::detail
