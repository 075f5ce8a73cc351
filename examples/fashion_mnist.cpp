// Trains a small convolutional network on Fashion-MNIST (60,000 + 10,000 pictures of clothes) and shows what it learnt.
// ./quickstart builds and runs this. Ctrl-C saves; --resume goes on as if nothing had happened, bit for bit.
// gradus-run --nproc 4 fashion_mnist trains with four processes, which share each batch.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

struct Options {
  int64_t epochs = 6, batch = 128, seed = 1, pictures = 1 << 30;
  double lr = 6e-3;
  bool deterministic = false;
  std::string device = "auto", resume;
};

struct Net : nn::Module {
  nn::Conv2d conv1{1, 16, 3, {.padding = 1, .bias = false}}, conv2{16, 32, 3, {.padding = 1, .bias = false}},
      conv3{32, 64, 3, {.padding = 1, .bias = false}};
  nn::BatchNorm2d norm1{16}, norm2{32}, norm3{64};
  nn::Linear head{64 * 3 * 3, 10};

  Tensor forward(Tensor x) {                   // (B, 1, 28, 28)
    x = max_pool2d(relu(norm1(conv1(x))), 2);  // (B, 16, 14, 14)
    x = max_pool2d(relu(norm2(conv2(x))), 2);  // (B, 32, 7, 7)
    x = max_pool2d(relu(norm3(conv3(x))), 2);  // (B, 64, 3, 3)
    return head(x.flatten(1));                 // (B, 10)
  }
  GRADUS_MODULE(conv1, conv2, conv3, norm1, norm2, norm3, head)
};

[[noreturn]] void usage(int code) {
  fmt::print(
      code ? stderr : stdout,
      "usage: fashion_mnist [--epochs N] [--batch N] [--lr X] [--seed N] [--device cpu|cuda|auto] [--resume DIR]\n"
      "                     [--pictures N]   train and test on the first N only\n"
      "                     [--deterministic]   the same bits with any number of processes\n");
  std::exit(code);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view key = argv[i];
    if (key == "--help") usage(0);
    if (key == "--deterministic") {
      o.deterministic = true;
      continue;
    }
    if (i + 1 == argc) usage(2);
    const char* value = argv[++i];
    char* end = nullptr;
    if (key == "--epochs")
      o.epochs = std::strtol(value, &end, 10);
    else if (key == "--batch")
      o.batch = std::strtol(value, &end, 10);
    else if (key == "--seed")
      o.seed = std::strtol(value, &end, 10);
    else if (key == "--pictures")
      o.pictures = std::strtol(value, &end, 10);
    else if (key == "--lr")
      o.lr = std::strtod(value, &end);
    else if (key == "--device")
      o.device = value;
    else if (key == "--resume")
      o.resume = value;
    else
      usage(2);
    if (end && (*end || end == value)) usage(2);
  }
  if (o.epochs < 1 || o.batch < 1 || o.pictures < 8 || (o.device != "cpu" && o.device != "cuda" && o.device != "auto"))
    usage(2);
  return o;
}

// A run goes on with the options it began with: they are in the first line of its metrics.
void adopt_options(Options& o, const RunFolder& run) {
  const MetricsLog log = run.metrics();
  if (log.rows.empty()) return;
  const auto take = [&](const char* name, auto& value) {
    if (const auto number = log.rows.front().number(name))
      value = static_cast<std::remove_reference_t<decltype(value)>>(*number);
  };
  take("epochs", o.epochs);
  take("batch", o.batch);
  take("seed", o.seed);
  take("pictures", o.pictures);
  take("lr", o.lr);
  take("deterministic", o.deterministic);
}

struct Data {
  data::TensorDataset train, test;
  bool synthetic;
};

Data load_data(bool speaks) {
  try {
    return {data::fashion_mnist("train"), data::fashion_mnist("test"), false};
  } catch (const IoError& error) {
    if (speaks)
      fmt::print(
          "{}\nTraining on generated glyphs instead. What follows is *synthetic*: it says nothing about "
          "Fashion-MNIST.\n\n",
          error.what());
    return {data::synthetic_glyphs(12000, 1), data::synthetic_glyphs(2000, 2), true};
  }
}

struct Evaluation {
  Confusion confusion;
  Tensor predictions;  // (N) int64
};

Evaluation evaluate(Net& net, const data::TensorDataset& set, Device device) {
  const NoGrad no_graph;
  net.eval();
  Evaluation result{Confusion(set.classes()), {}};
  std::vector<Tensor> predictions;
  data::DataLoader loader(set, {.batch = 500, .device = device});
  for (auto& [x, y] : loader) predictions.push_back(argmax(net(x), 1).to(Device::cpu()));
  net.train();
  result.predictions = cat(predictions);
  for (int64_t i = 0; i < set.size(); ++i)
    result.confusion.add(set.targets().data<int64_t>()[i], result.predictions.data<int64_t>()[i]);
  return result;
}

std::vector<Picture> sample_pictures(const data::TensorDataset& set, const Evaluation& evaluation, int count) {
  std::vector<Picture> pictures;
  for (int i = 0; i < count; ++i) {
    const int64_t truth = set.targets().data<int64_t>()[i], predicted = evaluation.predictions.data<int64_t>()[i];
    const uint8_t* pixels = set.inputs().data<uint8_t>() + i * 28 * 28;
    const std::string caption = truth == predicted
                                    ? set.classes()[static_cast<size_t>(truth)]
                                    : fmt::format("{}, is {}", set.classes()[static_cast<size_t>(predicted)],
                                                  set.classes()[static_cast<size_t>(truth)]);
    pictures.push_back({std::vector<uint8_t>(pixels, pixels + 28 * 28), 28, 28, caption,
                        truth == predicted ? Verdict::right : Verdict::wrong});
  }
  return pictures;
}

// The curves, in the terminal and as a page; the weights.
void present(const Options& o, const RunFolder& run, Net& net, const Data& set, const Evaluation& evaluation,
             double seconds) {
  const char* name = set.synthetic ? "synthetic glyphs" : "Fashion-MNIST";
  const double accuracy = evaluation.confusion.accuracy();
  const MetricsLog log = run.metrics();
  const Series loss = log.series("step", "loss"), tested = log.series("step", "accuracy");
  const std::vector<Picture> pictures = sample_pictures(set.test, evaluation, 8);
  const Series smooth[] = {smoothed(loss, 5)};
  fmt::print("\n{}", draw_chart(smooth, {.title = "training loss", .x_label = "step"}));
  fmt::print("\n{}", draw_worst_classes(evaluation.confusion));
  fmt::print("\n{}", draw_pictures(std::span(pictures).first(4)));
  data::save_safetensors(run.file("net.safetensors"), net.state_dict());
  write_report(
      run.file("report.html"),
      {.title = fmt::format("{}: {:.2f} % of the test pictures right", name, 100 * accuracy),
       .subtitle = fmt::format("{} epochs of {} pictures, {} threads", o.epochs, set.train.size(), num_threads()),
       .highlights = {{"test accuracy", fmt::format("{:.2f} %", 100 * accuracy)},
                      {"training time", fmt::format("{:.0f} s", seconds)},
                      {"parameters", fmt::format("{}", net.num_parameters())}},
       .figures = {{"training loss", "step", "cross entropy", {loss}, 5},
                   {"test accuracy", "step", "share right", {tested}}},
       .pictures = pictures,
       .confusion = evaluation.confusion,
       .summary = {{"data", name}, {"batch", fmt::format("{}", o.batch)}, {"peak rate", fmt::format("{}", o.lr)}}});
  fmt::print("\ntest accuracy {:.2f} % on {} pictures of {}\n", 100 * accuracy, set.test.size(), name);
  fmt::print("files         {0}/report.html  {0}/metrics.jsonl  {0}/net.safetensors  {0}/checkpoints/\n", run.path());
  fmt::print(
      "next          a language model:  cmake --build build/release --target char_lm && "
      "build/release/examples/char_lm\n"
      "              train for longer:  ./quickstart --epochs 12\n");
}

// The number of right answers of this process since it was last asked, for the progress line.
struct Counter {
  double right = 0, seen = 0;
  void add(const Tensor& logits, const Tensor& target) {
    right += sum(argmax(logits.detach(), 1) == target).item<double>();
    seen += static_cast<double>(target.numel());
  }
};

int train(Options o) {
  const dist::ProcessGroup world = dist::init();
  const bool speaks = world.rank() == 0;
  RunFolder run({.resume = o.resume, .group = world});
  adopt_options(o, run);
  manual_seed(static_cast<uint64_t>(o.seed));
  const Device device = o.device == "auto" ? world.device() : o.device == "cuda" ? Device::cuda() : Device::cpu();
  Data set = load_data(speaks);
  set.train = set.train.first(o.pictures);
  set.test = set.test.first(o.pictures);

  Net net;
  net.to(device);
  if (speaks) print(nn::summary(net, {1, 1, 28, 28}));
  const auto determinism = o.deterministic ? dist::Determinism::world_size : dist::Determinism::run;
  dist::DDP ddp(net.parameters(), world, {.buffers = net.buffers(), .determinism = determinism});
  data::DataLoader loader(set.train, {.batch = o.batch,
                                      .shuffle = true,
                                      .seed = static_cast<uint64_t>(o.seed),
                                      .workers = 1,
                                      .device = device,
                                      .group = world});
  optim::AdamW opt(net.parameters(), {.lr = 2e-3, .weight_decay = 0.01});
  optim::OneCycle schedule(opt, {.max_lr = o.lr, .steps = o.epochs * loader.size()});
  data::Checkpointer checkpoints(run.file("checkpoints"), {.every = 100, .group = world});
  int64_t step = checkpoints.resume(net, opt, schedule, loader);
  if (step == 0)
    run.log({{"step", 0},
             {"epochs", o.epochs},
             {"batch", o.batch},
             {"seed", o.seed},
             {"pictures", o.pictures},
             {"lr", o.lr},
             {"deterministic", o.deterministic},
             {"synthetic", set.synthetic}});
  else if (speaks)
    fmt::print("going on after step {} of {}\n", step, o.epochs * loader.size());

  const auto start = std::chrono::steady_clock::now();
  while (loader.epoch() < o.epochs) {
    Progress bar(fmt::format("epoch {}/{}", loader.epoch() + 1, o.epochs), loader.size(),
                 {.quiet = !speaks, .unit = "img", .done = loader.position()});
    Counter counter;
    for (auto& [x, y] : loader) {
      opt.zero_grad();
      const Tensor loss = ddp.backward(x, y, [&](const Tensor& rows, const Tensor& targets) {
        const Tensor logits = net(rows);
        counter.add(logits, targets);
        return cross_entropy(logits, targets);
      });
      optim::clip_grad_norm(net.parameters(), 1.0);
      opt.step();
      schedule.step();
      ++step;
      bar.tick({{"loss", loss}, {"acc", counter.right / counter.seen}, {"lr", opt.lr()}}, y.numel() * world.size());
      if (step % 10 == 0) run.log({{"step", step}, {"loss", loss.item<double>()}, {"lr", opt.lr()}});
      checkpoints.step(step, net, opt, schedule, loader);
      if (checkpoints.stop()) {
        bar.finish();
        if (speaks) fmt::print("stopped after step {}; go on with\n  ./quickstart --resume {}\n", step, run.path());
        return 0;
      }
    }
    bar.finish();
    if (!speaks) continue;
    const double accuracy = evaluate(net, set.test, device).confusion.accuracy();
    run.log({{"step", step}, {"epoch", loader.epoch()}, {"accuracy", accuracy}});
    fmt::print("test accuracy after epoch {}: {:.2f} %\n", loader.epoch(), 100 * accuracy);
  }
  if (!speaks) return 0;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Evaluation evaluation = evaluate(net, set.test, device);
  present(o, run, net, set, evaluation, seconds);
  return evaluation.confusion.accuracy() >= 0.85 || set.train.size() == o.pictures ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return train(parse(argc, argv));
  } catch (const Error& error) {
    fmt::print(stderr, "fashion_mnist: {}\n", error.what());
    return 1;
  }
}
