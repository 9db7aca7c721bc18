// STAND-IN for libnvonnxparser: reads the text of model.h in place of an ONNX file.
#include <fstream>

#include "network.h"

namespace standin {

class ParserErrorImpl final : public nvonnxparser::standin_stubs::IParserError {
 public:
  explicit ParserErrorImpl(Error error) : error_(std::move(error)) {}
  nvonnxparser::ErrorCode code() const noexcept override { return nvonnxparser::ErrorCode::kUNSUPPORTED_NODE; }
  char const* desc() const noexcept override { return error_.text.c_str(); }
  char const* file() const noexcept override { return "standin"; }
  int line() const noexcept override { return 1; }
  char const* func() const noexcept override { return "parse"; }
  int node() const noexcept override { return error_.node; }
#if VLA_TRT_SINCE(10, 0)
  char const* nodeName() const noexcept override { return error_.name.c_str(); }
  char const* nodeOperator() const noexcept override { return error_.op.c_str(); }
#endif

 private:
  Error const error_;
};

class Parser final : public nvonnxparser::standin_stubs::IParser {
 public:
  Parser(Network& network, nvinfer1::ILogger* logger) : network_(network), logger_(logger) {}

  bool parseFromFile(char const* file, int) noexcept override {
    std::ifstream stream(file);
    return parse({std::istreambuf_iterator<char>(stream), {}}, file);
  }
#if VLA_TRT_HAS_INITIALIZERS
  // An ONNX file that holds the text somewhere.
  bool loadModelProto(void const* model, size_t bytes, char const* path) noexcept override {
    std::string const all(static_cast<char const*>(model), bytes);
    auto const at = all.find("standin\n");
    text_ = at == std::string::npos ? "" : all.substr(at);
    path_ = path;
    return at != std::string::npos;
  }
  bool loadInitializer(char const* name, void const* data, size_t bytes) noexcept override {
    auto const* const first = static_cast<unsigned char const*>(data);
    network_.impl.initializers += std::string(name) + " " + std::to_string(bytes) + " bytes from " +
                                  std::to_string(bytes == 0 ? 0 : first[0]) + "; ";
    return std::string(name) != "refused";
  }
  bool parseModelProto() noexcept override { return parse(text_, path_.c_str()); }
#endif
  int getNbErrors() const noexcept override { return static_cast<int>(errors_.size()); }
  nvonnxparser::IParserError const* getError(int index) const noexcept override {
    return errors_[static_cast<size_t>(index)].get();
  }

 private:
  bool parse(std::string const& text, char const* file) {
    NetworkImpl& impl = network_.impl;
    if (!read_model(text, impl.model)) {
      log(logger_, Severity::kERROR, std::string("standin: ModelImporter: failed to parse ") + file);
      return false;
    }
    for (auto const& say : impl.model.says) log(logger_, static_cast<Severity>(say.first), say.second);
    for (auto const& error : impl.model.errors) errors_.push_back(std::make_unique<ParserErrorImpl>(error));
    impl.filled();
    return errors_.empty();
  }

  Network& network_;
  nvinfer1::ILogger* const logger_;
  std::vector<std::unique_ptr<ParserErrorImpl>> errors_;
#if VLA_TRT_HAS_INITIALIZERS
  std::string text_;
  std::string path_;
#endif
};

}  // namespace standin

extern "C" __attribute__((visibility("default"))) void* createNvOnnxParser_INTERNAL(void* network, void* logger,
                                                                                    int) noexcept(
    noexcept(createNvOnnxParser_INTERNAL(nullptr, nullptr, 0))) {
  auto& as_network = static_cast<standin::Network&>(*static_cast<nvinfer1::INetworkDefinition*>(network));
  return static_cast<nvonnxparser::IParser*>(
      new standin::Parser(as_network, static_cast<nvinfer1::ILogger*>(logger)));
}
