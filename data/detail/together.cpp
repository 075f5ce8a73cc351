// How ranks agree: one exchange of texts, whose first byte says whether it is a result or an error.
#include <gradus/data/detail/together.h>

#include <exception>

#include <gradus/core/detail/check.h>

namespace gradus::data::detail {

std::vector<std::string> together(const dist::ProcessGroup& group, const std::function<std::string()>& work) {
  constexpr char done = '+', failed = '-';
  std::string own;
  try {
    own = done + work();
  } catch (const std::exception& error) {
    own = failed + std::string(error.what());
  }
  std::vector<std::string> texts = group.all_gather_text(own);
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank].front() == failed)
      throw IoError(texts.size() == 1 ? texts[0].substr(1) : fmt::format("rank {}: {}", rank, texts[rank].substr(1)));
    texts[rank].erase(0, 1);
  }
  return texts;
}

}  // namespace gradus::data::detail
