// STAND-IN: the network definition, which the parser's library fills and the builder's reads. See model.h.
#ifndef VLA_TRT_STANDIN_NETWORK_H
#define VLA_TRT_STANDIN_NETWORK_H

#include "model.h"

namespace standin {

class NetworkImpl;

class TensorImpl final : public nvinfer1::standin_stubs::VTensor {
 public:
  TensorImpl(Tensor tensor, NetworkImpl const& network) : tensor(std::move(tensor)), network_(network) {}
  char const* getName() const noexcept override { return tensor.name.c_str(); }
  Dims getDimensions() const noexcept override { return tensor.dims; }
  DataType getType() const noexcept override { return tensor.type; }
  bool isShapeTensor() const noexcept override { return tensor.shape; }
  bool isNetworkInput() const noexcept override { return tensor.input; }
  bool isNetworkOutput() const noexcept override;

  Tensor const tensor;

 private:
  NetworkImpl const& network_;
};

class TensorObject final : public nvinfer1::ITensor {
 public:
  TensorObject(Tensor tensor, NetworkImpl const& network) : impl(std::move(tensor), network) { mImpl = &impl; }
  TensorImpl impl;
};

class LayerImpl final : public nvinfer1::standin_stubs::VLayer {
 public:
  LayerImpl(Layer const& layer, NetworkImpl& network);
  char const* getName() const noexcept override { return name_.c_str(); }
  nvinfer1::LayerType getType() const noexcept override {
    return name_.find("Cast") != std::string::npos ? nvinfer1::LayerType::kCAST : nvinfer1::LayerType::kELEMENTWISE;
  }
  int32_t getNbOutputs() const noexcept override { return 1; }
  nvinfer1::ITensor* getOutput(int32_t index) const noexcept override {
    return index == 0 ? const_cast<TensorObject*>(&output_) : nullptr;
  }
#if VLA_TRT_HAS_CALIBRATOR
  void setPrecision(DataType type) noexcept override;
  void setOutputType(int32_t, DataType type) noexcept override;
#endif

 private:
  std::string const name_;
  TensorObject output_;
  NetworkImpl& network_;
};

class LayerObject final : public nvinfer1::ILayer {
 public:
  LayerObject(Layer const& layer, NetworkImpl& network) : impl_(layer, network) { mLayer = &impl_; }

 private:
  LayerImpl impl_;
};

class NetworkImpl final : public nvinfer1::standin_stubs::VNetworkDefinition {
 public:
  explicit NetworkImpl(uint32_t flags) : flags(flags) {}

  // Called by the parser when `model` is there.
  void filled() {
    for (auto const& tensor : model.tensors) tensors_.push_back(std::make_unique<TensorObject>(tensor, *this));
    for (auto const& layer : model.network) layers_.push_back(std::make_unique<LayerObject>(layer, *this));
  }
  int32_t getNbInputs() const noexcept override { return count(true); }
  int32_t getNbOutputs() const noexcept override { return count(false); }
  nvinfer1::ITensor* getInput(int32_t index) const noexcept override { return nth(true, index); }
  nvinfer1::ITensor* getOutput(int32_t index) const noexcept override { return nth(false, index); }
  int32_t getNbLayers() const noexcept override { return static_cast<int32_t>(layers_.size()); }
  nvinfer1::ILayer* getLayer(int32_t index) const noexcept override { return layers_[static_cast<size_t>(index)].get(); }
  void markOutput(nvinfer1::ITensor& tensor) noexcept override {
    model.tensors.push_back(static_cast<TensorObject&>(tensor).impl.tensor);
    tensors_.push_back(std::make_unique<TensorObject>(model.tensors.back(), *this));
  }

  Model model;
  // Weights that the parser was handed in memory.
  std::string initializers;
  uint32_t const flags;
  std::vector<std::string> precisions;

 private:
  int32_t count(bool input) const {
    int32_t n = 0;
    for (auto const& tensor : tensors_) n += tensor->impl.tensor.input == input;
    return n;
  }
  nvinfer1::ITensor* nth(bool input, int32_t index) const {
    for (auto const& tensor : tensors_) {
      if (tensor->impl.tensor.input == input && index-- == 0) return tensor.get();
    }
    return nullptr;
  }

  std::vector<std::unique_ptr<TensorObject>> tensors_;
  std::vector<std::unique_ptr<LayerObject>> layers_;
};

inline bool TensorImpl::isNetworkOutput() const noexcept {
  auto const* const known = network_.model.find(tensor.name);
  return known != nullptr && !known->input;
}

inline LayerImpl::LayerImpl(Layer const& layer, NetworkImpl& network)
    : name_(layer.name),
      output_(
          [&] {
            Tensor tensor;
            tensor.name = layer.tensor;
            tensor.type = layer.type;
            tensor.dims = dims_of("4");
            return tensor;
          }(),
          network),
      network_(network) {}

#if VLA_TRT_HAS_CALIBRATOR
inline void LayerImpl::setPrecision(DataType type) noexcept {
  network_.precisions.push_back("precision " + name_ + " " + name_of(type));
}
inline void LayerImpl::setOutputType(int32_t, DataType type) noexcept {
  network_.precisions.push_back("output_type " + name_ + " " + name_of(type));
}
#endif

class Network final : public nvinfer1::INetworkDefinition {
 public:
  explicit Network(uint32_t flags) : impl(flags) { mImpl = &impl; }
  NetworkImpl impl;
};

}  // namespace standin

#endif
