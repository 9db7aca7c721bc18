// A STAND-IN for TensorRT, for tests only: it exports the same C symbols and implements just enough of the C++ classes
// for the ring in src/engine/tensorrt to run every branch without a GPU. It computes nothing of interest.
//
// This file: the text that stands for both an ONNX file and a plan. Lines up to "end", then the payload:
//   standin                                    first line
//   name TEXT / layers N / activation BYTES / profiles N
//   input NAME DTYPE DIMS [range MIN OPT MAX] [host] [shape] [vectorised]     DIMS as 3x?x4, "-" for a scalar
//   output NAME DTYPE DIMS
//   layer NAME DTYPE TENSOR                    a layer and the tensor that it makes
//   inspect JSON                               one layer as the inspector tells it (plans only)
//   option KEY=VALUE                           what the builder was told (plans only)
//   say SEVERITY TEXT                          logged through the global logger when the text is read
//   refuse WHAT                                deserialize, describe, context, enqueue, build
//   error NODE NAME OPERATOR TEXT              a parser error
//   device                                     the loader reads part of the payload into device memory
//   payload BYTES                              follows "end": byte i is (7 i + 3) mod 256
#ifndef VLA_TRT_STANDIN_MODEL_H
#define VLA_TRT_STANDIN_MODEL_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "../tensorrt_shim.h"
#include "../tensorrt_version.h"

namespace standin {

// Called by the generated stubs: the ring used a method that the stand-in does not have.
[[noreturn]] inline void unexpected(char const* method) {
  std::fprintf(stderr, "the TensorRT stand-in does not implement %s\n", method);
  std::abort();
}

}  // namespace standin

// Every pure virtual method of the headers at hand, as a call of `unexpected`; made by tests/support/standin.rs.
#include "stubs.h"

namespace standin {

using nvinfer1::DataType;
using nvinfer1::Dims;
using Severity = nvinfer1::ILogger::Severity;

#if VLA_TRT_SINCE(10, 0)
using DimsArgument = Dims const&;
#else
using DimsArgument = Dims;
#endif

// The logger that the library got first in this process: TensorRT logs much through that one, whatever logger the
// runtime or builder was made with.
nvinfer1::ILogger* global_logger(nvinfer1::ILogger* given);

struct Tensor {
  std::string name;
  DataType type = DataType::kFLOAT;
  Dims dims{}, min{}, opt{}, max{};
  bool input = false, host = false, shape = false, vectorised = false;
};

struct Layer {
  std::string name;
  DataType type = DataType::kFLOAT;
  std::string tensor;
};

struct Error {
  int node = -1;
  std::string name, op, text;
};

struct Model {
  std::string name;
  int32_t layers = 1, profiles = 1;
  int64_t activation = 0, payload = 0;
  bool device = false;
  std::vector<Tensor> tensors;
  std::vector<Layer> network;
  std::vector<std::pair<int, std::string>> says;
  std::vector<std::string> refusals, options, inspected;
  std::vector<Error> errors;

  bool refuses(char const* what) const {
    for (auto const& refusal : refusals) {
      if (refusal == what) return true;
    }
    return false;
  }

  Tensor const* find(std::string const& wanted) const {
    for (auto const& tensor : tensors) {
      if (tensor.name == wanted) return &tensor;
    }
    return nullptr;
  }
};

struct TypeName {
  char const* name;
  DataType type;
};

inline constexpr TypeName kTYPES[] = {
    {"f32", DataType::kFLOAT}, {"f16", DataType::kHALF}, {"i8", DataType::kINT8}, {"i32", DataType::kINT32},
    {"bool", DataType::kBOOL}, {"u8", DataType::kUINT8},
#if VLA_TRT_SINCE(10, 0)
    {"bf16", DataType::kBF16}, {"i64", DataType::kINT64},
#endif
};

inline DataType type_named(std::string const& name) {
  for (auto const& type : kTYPES) {
    if (name == type.name) return type.type;
  }
  return DataType::kFLOAT;
}

inline char const* name_of(DataType type) {
  for (auto const& known : kTYPES) {
    if (known.type == type) return known.name;
  }
  return "f32";
}

inline Dims dims_of(std::string const& text) {
  Dims dims{};
  std::istringstream parts(text == "-" ? "" : text);
  for (std::string part; std::getline(parts, part, 'x');) {
    dims.d[dims.nbDims++] = part == "?" ? -1 : std::atoi(part.c_str());
  }
  return dims;
}

inline std::string text_of(Dims const& dims) {
  std::string text;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    text += (i > 0 ? "x" : "") + (dims.d[i] < 0 ? std::string("?") : std::to_string(dims.d[i]));
  }
  return text.empty() ? "-" : text;
}

inline Tensor tensor_of(std::istringstream& words, bool input) {
  Tensor tensor;
  std::string type, dims, word;
  words >> tensor.name >> type >> dims;
  tensor.input = input;
  tensor.type = type_named(type);
  tensor.dims = tensor.min = tensor.opt = tensor.max = dims_of(dims);
  while (words >> word) {
    if (word == "range") {
      std::string min, opt, max;
      words >> min >> opt >> max;
      tensor.min = dims_of(min), tensor.opt = dims_of(opt), tensor.max = dims_of(max);
    }
    tensor.host = tensor.host || word == "host";
    tensor.shape = tensor.shape || word == "shape";
    tensor.vectorised = tensor.vectorised || word == "vectorised";
  }
  return tensor;
}

// False when the text is not one of ours.
inline bool read_model(std::string const& text, Model& model) {
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != "standin") return false;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string key, rest;
    words >> key;
    auto const remainder = [&] {
      std::getline(words >> std::ws, rest);
      return rest;
    };
    if (key == "end") return true;
    if (key == "name") model.name = remainder();
    if (key == "layers") words >> model.layers;
    if (key == "activation") words >> model.activation;
    if (key == "profiles") words >> model.profiles;
    if (key == "payload") words >> model.payload;
    if (key == "device") model.device = true;
    if (key == "input" || key == "output") model.tensors.push_back(tensor_of(words, key == "input"));
    if (key == "option") model.options.push_back(remainder());
    if (key == "inspect") model.inspected.push_back(remainder());
    if (key == "refuse") model.refusals.push_back(remainder());
    if (key == "layer") {
      Layer layer;
      std::string type;
      words >> layer.name >> type >> layer.tensor;
      layer.type = type_named(type);
      model.network.push_back(layer);
    }
    if (key == "say") {
      int severity = 3;
      words >> severity;
      model.says.emplace_back(severity, remainder());
    }
    if (key == "error") {
      Error error;
      words >> error.node >> error.name >> error.op;
      error.text = remainder();
      model.errors.push_back(error);
    }
  }
  return false;
}

inline unsigned char payload_byte(int64_t index) { return static_cast<unsigned char>(index * 7 + 3); }

inline void log(nvinfer1::ILogger* logger, Severity severity, std::string const& text) {
  if (logger != nullptr) logger->log(severity, text.c_str());
}

}  // namespace standin

#endif
