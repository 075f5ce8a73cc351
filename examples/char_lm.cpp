// A character language model: a small GPT learns the King James Bible (Debian's packages bible-kjv and bible-kjv-text),
// reports its validation loss in nats per character, and writes a passage of its own. Ctrl-C saves; --resume goes on.
// gradus-run --nproc 4 char_lm trains with four processes, which share each batch.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

struct Options {
  int64_t steps = 700, batch = 32, context = 64, layers = 3, width = 128, heads = 4, seed = 1, sample = 600;
  double lr = 3e-3;
  bool deterministic = false;
  std::string text, resume;
};

// Pre-norm transformer block (Radford et al., 2019).
struct Block : nn::Module {
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, proj, up, down;
  int64_t heads;

  Block(int64_t width, int64_t heads_)
      : norm1(width),
        norm2(width),
        qkv(width, 3 * width),
        proj(width, width),
        up(width, 4 * width),
        down(4 * width, width),
        heads(heads_) {}

  Tensor forward(Tensor x) {  // (B, T, C)
    x = x + proj(self_attention(qkv(norm1(x)), heads, {.causal = true}));
    return x + down(gelu(up(norm2(x)), GeluApproximation::tanh));
  }
  GRADUS_MODULE(norm1, norm2, qkv, proj, up, down, heads)
};

struct Gpt : nn::Module {
  nn::Embedding tokens, positions;
  nn::ModuleList<Block> blocks;
  nn::LayerNorm norm;
  nn::Linear head;

  Gpt(int64_t vocabulary, const Options& o)
      : tokens(vocabulary, o.width),
        positions(o.context, o.width),
        blocks(o.layers, [&] { return Block(o.width, o.heads); }),
        norm(o.width),
        head(o.width, vocabulary, {.bias = false}) {
    // Residual branches start small (GPT-2's initialisation).
    for (const auto& [name, parameter] : parameters())
      if (parameter.rank() == 2)
        nn::init::normal_(parameter, 0,
                          name.ends_with("proj.weight") || name.ends_with("down.weight")
                              ? 0.02 / std::sqrt(2.0 * static_cast<double>(o.layers))
                              : 0.02);
  }

  Tensor forward(const Tensor& x) {                       // (B, T) int64
    Tensor h = tokens(x) + positions(arange(x.size(1)));  // (B, T, C)
    for (Block& block : blocks) h = block(h);
    return head(norm(h));  // (B, T, V)
  }
  GRADUS_MODULE(tokens, positions, blocks, norm, head)
};

// Text as numbers of its distinct characters, most of it to learn from and the end to check with.
struct Corpus {
  std::string alphabet;
  Tensor train, validation;  // int64

  explicit Corpus(const std::string& text) {
    alphabet = text;
    std::sort(alphabet.begin(), alphabet.end());
    alphabet.erase(std::unique(alphabet.begin(), alphabet.end()), alphabet.end());
    std::vector<int64_t> codes;
    codes.reserve(text.size());
    for (const char c : text) codes.push_back(static_cast<int64_t>(alphabet.find(c)));
    const Tensor all = tensor(std::span<const int64_t>(codes));
    const int64_t cut = all.numel() * 95 / 100;
    train = all.slice(0, 0, cut);
    validation = all.slice(0, cut);
  }
};

// Random windows of the text: {x, y} with y one character ahead, both (B, T).
std::pair<Tensor, Tensor> windows(const Tensor& text, const Options& o) {
  const Tensor starts = randint(text.numel() - o.context, {o.batch, 1});
  const Tensor places = starts + arange(o.context);  // (B, T)
  return {text[places], text[places + 1]};
}

Tensor loss_of(Gpt& net, const Tensor& x, const Tensor& y) { return cross_entropy(net(x).flatten(0, 1), y.flatten()); }

// The rows of a batch that are this rank's.
Tensor part_of(const Tensor& x, const dist::ProcessGroup& world) {
  const int64_t rows = x.size(0);
  return x.slice(0, rows * world.rank() / world.size(), rows * (world.rank() + 1) / world.size());
}

double validate(Gpt& net, const Tensor& text, const Options& o) {
  const NoGrad no_graph;
  double total = 0;
  for (int i = 0; i < 20; ++i) {
    const auto [x, y] = windows(text, o);
    total += loss_of(net, x, y).item<double>();
  }
  return total / 20;
}

// Draws one character after the other; `temperature` below 1 prefers the likely ones.
std::string generate(Gpt& net, const Corpus& corpus, const std::string& prompt, const Options& o,
                     double temperature = 0.8) {
  const NoGrad no_graph;
  std::vector<int64_t> codes;
  for (const char c : prompt) codes.push_back(std::max<int64_t>(0, static_cast<int64_t>(corpus.alphabet.find(c))));
  std::string text = prompt;
  for (int64_t i = 0; i < o.sample; ++i) {
    const size_t seen = std::min(codes.size(), static_cast<size_t>(o.context));
    const Tensor x = tensor(std::span<const int64_t>(codes).last(seen)).unsqueeze(0);  // (1, T)
    const Tensor logits = net(x)[0][-1];                                               // (V)
    codes.push_back(multinomial(softmax(logits / temperature)).item<int64_t>());
    text += corpus.alphabet[static_cast<size_t>(codes.back())];
  }
  return text;
}

[[noreturn]] void usage(int code) {
  fmt::print(code ? stderr : stdout,
             "usage: char_lm [--steps N] [--batch N] [--context N] [--layers N] [--width N] [--heads N] [--lr X] "
             "[--seed N] [--sample N] [--text FILE] [--resume DIR]\n"
             "               [--deterministic]   the same bits with any number of processes\n");
  std::exit(code);
}

Options parse(int argc, char** argv) {
  Options o;
  const std::pair<std::string_view, int64_t*> numbers[] = {
      {"--steps", &o.steps}, {"--batch", &o.batch}, {"--context", &o.context}, {"--layers", &o.layers},
      {"--width", &o.width}, {"--heads", &o.heads}, {"--seed", &o.seed},       {"--sample", &o.sample}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view key = argv[i];
    if (key == "--help") usage(0);
    if (key == "--deterministic") {
      o.deterministic = true;
      continue;
    }
    if (++i == argc) usage(2);
    char* end = argv[i];
    if (key == "--text" || key == "--resume") {
      (key == "--text" ? o.text : o.resume) = argv[i];
      continue;
    }
    if (key == "--lr") o.lr = std::strtod(argv[i], &end);
    for (const auto& [name, value] : numbers)
      if (key == name) *value = std::strtol(argv[i], &end, 10);
    if (end == argv[i] || *end) usage(2);
  }
  for (const auto& [name, value] : numbers)
    if (*value < 1) usage(2);
  if (o.width % o.heads != 0) usage(2);
  return o;
}

// The curve, a passage, the weights.
void present(const Options& o, const RunFolder& folder, Gpt& net, const Corpus& corpus) {
  const double validation = validate(net, corpus.validation, o);
  const Series curve[] = {smoothed(folder.metrics().series("step", "loss"), 3)};
  fmt::print("\n{}", draw_chart(curve, {.title = "training loss, nats per character", .x_label = "step"}));
  fmt::print("\n{}\n", generate(net, corpus, "In the beginning ", o));
  data::save_safetensors(folder.file("net.safetensors"), net.state_dict(), {{"alphabet", corpus.alphabet}});
  fmt::print("\nvalidation loss {:.3f} nats per character; weights in {}\n", validation,
             folder.file("net.safetensors"));
}

int run(const Options& o) {
  const dist::ProcessGroup world = dist::init();
  const bool speaks = world.rank() == 0;
  manual_seed(static_cast<uint64_t>(o.seed));
  const Corpus corpus(o.text.empty() ? data::king_james_bible() : data::read_text(o.text));
  if (corpus.validation.numel() <= o.context) throw ValueError("char_lm: the text is too short for this context");
  Gpt net(static_cast<int64_t>(corpus.alphabet.size()), o);
  if (speaks)
    fmt::print("{} characters, {} distinct; a GPT of {} parameters, {} layers, width {}, context {}\n",
               corpus.train.numel() + corpus.validation.numel(), corpus.alphabet.size(), net.num_parameters(), o.layers,
               o.width, o.context);

  RunFolder folder({.resume = o.resume, .group = world});
  const auto determinism = o.deterministic ? dist::Determinism::world_size : dist::Determinism::run;
  dist::DDP ddp(net.parameters(), world, {.determinism = determinism});
  optim::AdamW opt(net.parameters(), {.lr = o.lr, .betas = {0.9, 0.99}, .weight_decay = 0.1});
  optim::OneCycle schedule(opt, {.max_lr = o.lr, .steps = o.steps, .pct_start = 0.1});
  data::Checkpointer checkpoints(folder.file("checkpoints"), {.every = 100, .group = world});
  int64_t step = checkpoints.resume(net, opt, schedule);
  {
    Progress bar("training", o.steps, {.quiet = !speaks, .unit = "chars", .done = step});
    while (step < o.steps) {
      const auto [x, y] = windows(corpus.train, o);  // the same on all ranks
      opt.zero_grad();
      const Tensor loss =
          ddp.backward(part_of(x, world), part_of(y, world),
                       [&](const Tensor& rows, const Tensor& next) { return loss_of(net, rows, next); });
      optim::clip_grad_norm(net.parameters(), 1.0);
      opt.step();
      schedule.step();
      ++step;
      bar.tick({{"loss", loss}}, o.batch * o.context);
      if (step % 10 == 0) folder.log({{"step", step}, {"loss", loss.item<double>()}});
      checkpoints.step(step, net, opt, schedule);
      if (checkpoints.stop()) break;
    }
  }
  if (step < o.steps && speaks)
    fmt::print("stopped after step {}; go on with --resume {}\n", step, folder.path());
  else if (speaks)
    present(o, folder, net, corpus);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const Error& error) {
    fmt::print(stderr, "char_lm: {}\n", error.what());
    return 1;
  }
}
