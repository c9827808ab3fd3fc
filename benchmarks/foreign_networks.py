"""Files whose network computes something else than its class names and tensors make believe, or nearly so.

Each is an honest network with one change that leaves the names and shapes of all tensors as they were: an attribute,
a part of another class, a function of the owner's, the order of the parts, a value outside the state dict. Whoever
rebuilds such a file must follow the change or refuse. ``old_pickles.py make FOLDER --only foreign`` writes them with
what torch itself computes from them; some of the changes alter nothing, and should load.
"""

import collections

import torch
from old_networks import Case, classifier, foreign, language_model
from torch import nn

WHERE, KIND = "foreign networks", "changed network"


def reorder(container, names=None):
    """Hold the same parts in another order; computation follows the order."""
    parts = container._modules
    names = list(reversed(list(parts))) if names is None else names
    container._modules = collections.OrderedDict((name, parts[name]) for name in names)


def put(owner, name, part):
    """Replace a part, keeping its weights: the class of ``part`` is what is new."""
    part.__dict__.update(owner._modules[name].__dict__)
    owner._modules[name] = part


def own(module, name, base, forward):
    """An instance, without its own attributes, of a subclass pickled as ``module.name``."""
    kind = foreign(module, name, base, forward=forward)
    return kind.__new__(kind)


def doubled(self, *inputs, **more):
    return type(self).__bases__[0].forward(self, *inputs, **more) * 2


def twice(module, inputs, output):
    return output * 2


def twice_before(module, inputs):
    return tuple(value * 2 for value in inputs)


def function(name, value):
    """A function pickled as ``our_functions.NAME``."""
    foreign("our_functions", "Unused", object)
    import sys

    value.__module__, value.__qualname__, value.__name__ = "our_functions", name, name
    setattr(sys.modules["our_functions"], name, value)
    return value


def resnet_changes():
    def hooks(n):
        n.fc.register_forward_hook(function("twice", twice))

    def hooks_before(n):
        n.layer2.register_forward_pre_hook(function("twice_before", twice_before))

    def one_block_twice(n):
        n.layer1._modules["1"] = n.layer1._modules["0"]

    def old_statistics(n):
        n.bn1.track_running_stats = False

    return {
        "stride-moved": lambda n: (
            setattr(n.layer2[0].conv1, "stride", (1, 1)), setattr(n.layer2[0].conv2, "stride", (2, 2))),
        "stride": lambda n: (setattr(n.layer2[0].conv1, "stride", (1, 1)),
                             setattr(n.layer2[0].downsample[0], "stride", (1, 1))),
        "hook": hooks,
        "hook-before": hooks_before,
        "forward-of-relu": lambda n: setattr(n.relu, "forward", torch.tanh),
        "forward-of-network": lambda n: n.__dict__.update(forward=function("twice_it", lambda x: x.flatten(1) * 2)),
        "leaky": lambda n: n.layer1[0]._modules.update(relu=nn.LeakyReLU(0.3)),
        "no-relu": lambda n: n._modules.update(relu=nn.Identity()),
        "relu6": lambda n: n._modules.update(relu=nn.ReLU6()),
        "own-linear": lambda n: put(n, "fc", own("our_layers", "Linear", nn.Linear, doubled)),
        "own-linear-in-torch": lambda n: put(
            n, "fc", own("torch.nn.modules.linear", "MyLinear", nn.Linear, doubled)),
        "own-conv": lambda n: put(n, "conv1", own("our_layers", "Conv2d", nn.Conv2d, doubled)),
        "own-block": lambda n: put(
            n.layer1, "0", own("our_layers", "BasicBlock", type(n.layer1[0]), doubled)),
        "own-pool": lambda n: put(n, "avgpool", own("our_layers", "Pool", type(n.avgpool), doubled)),
        "own-sequential": lambda n: put(n, "layer3", own("our_layers", "Sequential", nn.Sequential, doubled)),
        "order": lambda n: reorder(n.layer1),
        "order-of-downsample": lambda n: reorder(n.layer2[0].downsample),
        "order-that-does-nothing": lambda n: reorder(n),
        "circular": lambda n: setattr(n.conv1, "padding_mode", "circular"),
        "padding": lambda n: setattr(n.conv1, "padding", (1, 5)),
        "dilation": lambda n: (setattr(n.conv1, "dilation", (2, 2)), setattr(n.conv1, "padding", (6, 6))),
        "same-padding": lambda n: (setattr(n.layer1[0].conv1, "padding", "same"),
                                   setattr(n.layer1[0].conv1, "_reversed_padding_repeated_twice", [1, 1, 1, 1])),
        "no-momentum": lambda n: setattr(n.bn1, "momentum", None),
        "no-tracking": old_statistics,
        "no-scale": lambda n: setattr(n.bn1, "affine", False),
        "epsilon": lambda n: setattr(n.bn1, "eps", 0.2),
        "epsilon-tensor": lambda n: setattr(n.bn1, "eps", torch.tensor(0.2)),
        "epsilon-none": lambda n: setattr(n.bn1, "eps", 0),
        "instance-norm": lambda n: put(n, "bn1", nn.InstanceNorm2d.__new__(nn.InstanceNorm2d)),
        "pool-average": lambda n: n._modules.update(maxpool=nn.AvgPool2d(3, 2, 1)),
        "pool-ceil": lambda n: setattr(n.maxpool, "ceil_mode", True),
        "no-pool": lambda n: n._modules.update(maxpool=nn.Identity()),
        "empty-pool": lambda n: n._modules.update(maxpool=nn.Sequential()),
        "pool-max": lambda n: n._modules.update(avgpool=nn.AdaptiveMaxPool2d(1)),
        "dropout-for-head-pool": lambda n: n.layer4[1]._modules.update(relu=nn.Dropout(0.3)),
        "tensor-dropout": lambda n: n.layer4[1].add_module("drop", nn.Dropout(torch.tensor(0.3))),
        "unused-part": lambda n: n.add_module("extra", nn.ReLU()),
        "unused-buffer": lambda n: n.register_buffer("mean", torch.zeros(3)),
        "block-twice": one_block_twice,
        "tied": lambda n: setattr(n.layer1[1].conv1, "weight", n.layer1[0].conv1.weight),
        "inplace": lambda n: setattr(n.relu, "inplace", False),
        "inplace-number": lambda n: setattr(n.relu, "inplace", 1),
        "expansion": lambda n: setattr(n.layer1[0], "expansion", 2),
        "downsample-attribute": lambda n: (n.layer1[0]._modules.pop("downsample", None),
                                           n.layer1[0].__dict__.update(downsample=torch.tanh)),
        "downsample-relu": lambda n: n.layer1[0]._modules.update(downsample=nn.ReLU()),
        "weight-norm": lambda n: nn.utils.weight_norm(n.fc),
        "spectral-norm": lambda n: nn.utils.spectral_norm(n.fc),
        "bias-attribute": lambda n: (n.layer1[0].conv1._parameters.pop("bias"),
                                     n.layer1[0].conv1.__dict__.update(bias=torch.linspace(-1, 1, 64))),
        "weight-attribute": lambda n: n.fc.__dict__.update(weight=n.fc.weight.data * 2),
        "buffer-attribute": lambda n: n.bn1.__dict__.update(running_mean=n.bn1.running_mean + 1),
        "parameter-in-buffers": lambda n: (n.fc._parameters.pop("bias"),
                                           n.fc.register_buffer("bias", torch.linspace(-1, 1, 7))),
        "half-of-it": lambda n: setattr(n.fc, "weight", nn.Parameter(n.fc.weight.data[:, ::2].repeat(1, 2))),
        "class-swapped": lambda n: setattr(n.layer1[0], "__class__", foreign(
            "torchvision.models.resnet", "BasicBlock2", type(n.layer1[0]), forward=doubled)),
    }  # fmt: skip


def pruned(n):
    from torch.nn.utils import prune

    prune.l1_unstructured(n.fc, "weight", amount=0.5)


def other_changes():
    """(network factory, name, change)."""
    yield "resnet18", "pruned", pruned
    yield "squeezenet1_1", "order", lambda n: reorder(n.classifier, ["0", "1", "3", "2"])
    yield "squeezenet1_1", "order-of-fire", lambda n: reorder(n.features[3])
    yield "squeezenet1_1", "pool", lambda n: setattr(n.features[2], "ceil_mode", False)
    yield "squeezenet1_1", "head-pool", lambda n: setattr(n.classifier[3], "output_size", (1, 2))
    yield "vgg11_bn", "swapped", lambda n: reorder(n.features, ["0", "2", "1"] + [str(k) for k in range(3, 29)])
    yield "vgg11_bn", "no-relu", lambda n: n.features._modules.update({"2": nn.Dropout(0.0)})
    yield "vgg11_bn", "no-pool", lambda n: setattr(n, "avgpool", nn.AdaptiveMaxPool2d(7))
    yield "densenet121", "drop-rate", lambda n: setattr(n.features.denseblock1.denselayer1, "drop_rate", 0.4)
    yield "densenet121", "efficient", lambda n: setattr(n.features.denseblock1.denselayer1, "memory_efficient", True)
    yield "densenet121", "order", lambda n: reorder(n.features.transition1)
    yield "densenet121", "order-of-block", lambda n: reorder(n.features.denseblock1)
    yield "mobilenet_v2", "no-shortcut", lambda n: setattr(n.features[3], "use_res_connect", False)
    yield "mobilenet_v2", "relu", lambda n: n.features[0]._modules.update({"2": nn.ReLU()})
    yield "mobilenet_v2", "hardtanh", lambda n: n.features[0]._modules.update({"2": nn.Hardtanh(0.0, 6.0)})
    yield "mobilenet_v2", "max", lambda n: setattr(n.features[0][2], "max_val", 1.0)
    yield "mnasnet1_0", "no-shortcut", lambda n: setattr(n.layers[8][1], "apply_residual", False)
    yield "shufflenet_v2_x1_0", "order", lambda n: reorder(n.stage2[0].branch2)
    yield "shufflenet_v2_x1_0", "stride", lambda n: setattr(n.stage2[0], "stride", 1)
    yield "googlenet", "transform", lambda n: setattr(n, "transform_input", True)
    yield "inception_v3", "transform", lambda n: setattr(n, "transform_input", not n.transform_input)
    yield "efficientnet_b0", "activation", lambda n: n.features[0]._modules.update({"2": nn.ReLU()})
    yield (
        "efficientnet_b0",
        "squeeze",
        lambda n: setattr(n.features[1][0].block[1], "scale_activation", nn.Hardsigmoid()),
    )
    yield "efficientnet_b0", "depth", lambda n: setattr(n.features[2][1].stochastic_depth, "p", 0.9)
    yield "efficientnet_b0", "no-shortcut", lambda n: setattr(n.features[2][1], "use_res_connect", False)
    yield "mobilenet_v3_small", "no-shortcut", lambda n: setattr(n.features[3], "use_res_connect", False)
    yield "alexnet", "dropout", lambda n: setattr(n.classifier[0], "p", 0.9)


def transformer_changes():
    """(body, head, name, change)."""

    def attention(n, body):
        layer = n.base_model.encoder.layer[0] if body != "distilbert" else n.base_model.transformer.layer[0]
        return layer.attention.self if body != "distilbert" else layer.attention

    token, whole = "ForTokenClassification", "Model"
    for body in ("bert", "roberta", "electra"):
        yield (
            body,
            token,
            "heads",
            lambda n, b=body: (
                setattr(attention(n, b), "num_attention_heads", 2),
                setattr(attention(n, b), "attention_head_size", attention(n, b).all_head_size // 2),
            ),
        )
        yield body, token, "scaling", lambda n, b=body: setattr(attention(n, b), "scaling", 0.01)
        yield body, token, "head-size", lambda n, b=body: setattr(attention(n, b), "attention_head_size", 4)
        yield body, token, "causal", lambda n, b=body: setattr(attention(n, b), "is_causal", True)
        yield body, token, "decoder", lambda n, b=body: setattr(attention(n, b), "is_decoder", True)
        yield (
            body,
            token,
            "position-type",
            lambda n, b=body: setattr(attention(n, b), "position_embedding_type", "nothing"),
        )
        yield (
            body,
            token,
            "embedding-type",
            lambda n: setattr(n.base_model.embeddings, "position_embedding_type", "nothing"),
        )
        yield (
            body,
            token,
            "activation",
            lambda n: setattr(n.base_model.encoder.layer[1].intermediate, "intermediate_act_fn", torch.tanh),
        )
        yield (
            body,
            token,
            "activation-class",
            lambda n: n.base_model.encoder.layer[1].intermediate.__dict__.update(
                intermediate_act_fn=nn.functional.relu
            ),
        )
        yield body, token, "order", lambda n: reorder(n.base_model.encoder.layer)
        yield (
            body,
            token,
            "positions",
            lambda n: n.base_model.embeddings.position_ids.copy_(n.base_model.embeddings.position_ids.flip(1).clone()),
        )
        yield body, token, "types", lambda n: n.base_model.embeddings.token_type_ids.fill_(1)
        yield (
            body,
            token,
            "own-layer",
            lambda n: put(
                n.base_model.encoder.layer,
                "1",
                own(
                    "our_layers",
                    "Layer",
                    type(n.base_model.encoder.layer[1]),
                    type(n.base_model.encoder.layer[1]).forward,
                ),
            ),
        )
        yield (
            body,
            token,
            "embedding-function",
            lambda n: n.base_model.embeddings.LayerNorm.__dict__.update(forward=torch.tanh),
        )
        yield body, token, "epsilon", lambda n: setattr(n.base_model.embeddings.LayerNorm, "eps", 0.3)
        yield body, token, "padding", lambda n: setattr(n.base_model.embeddings, "padding_idx", 3)
        yield body, token, "config-activation", lambda n: setattr(n.config, "hidden_act", "relu")
        yield body, token, "config-decoder", lambda n: setattr(n.config, "is_decoder", True)
        yield body, token, "config-epsilon", lambda n: setattr(n.config, "layer_norm_eps", 0.2)
        yield body, token, "config-padding", lambda n: setattr(n.config, "pad_token_id", 2)
        yield body, token, "config-heads", lambda n: setattr(n.config, "num_attention_heads", 2)
        yield (
            body,
            token,
            "norm-attribute",
            lambda n: n.base_model.embeddings.LayerNorm.__dict__.update(
                weight=torch.ones(n.base_model.embeddings.LayerNorm.weight.shape)
            ),
        )
    for name, change in {
        "heads": lambda n: setattr(attention(n, "distilbert"), "n_heads", 2),
        "activation": lambda n: setattr(n.base_model.transformer.layer[0].ffn, "activation", torch.tanh),
        "order": lambda n: reorder(n.base_model.transformer.layer),
    }.items():
        yield "distilbert", token, name, change
    for name, change in {
        "no-scale": lambda n: setattr(n.h[0].attn, "scale_attn_weights", False),
        "scale": lambda n: setattr(n.h[0].attn, "scale", False),
        "by-layer": lambda n: setattr(n.h[1].attn, "scale_attn_by_inverse_layer_idx", True),
        "heads": lambda n: (
            setattr(n.h[0].attn, "n_head", 2),
            setattr(n.h[0].attn, "num_heads", 2),
            setattr(n.h[0].attn, "head_dim", n.h[0].attn.c_proj.weight.shape[0] // 2),
        ),
        "mask": lambda n: n.h[0].attn.bias.fill_(1),
        "masked": lambda n: n.h[0].attn.masked_bias.fill_(-1.0),
        "activation": lambda n: setattr(n.h[0].mlp, "act", torch.tanh),
        "order": lambda n: reorder(n.h),
        "cross": lambda n: setattr(n.h[0].attn, "is_cross_attention", True),
        "config-scale": lambda n: setattr(n.config, "scale_attn_weights", False),
    }.items():
        yield "gpt2", whole, name, change
    for name, change in {
        "order": lambda n: reorder(n.mobilebert.encoder.layer),
        "trigram": lambda n: setattr(n.mobilebert.embeddings, "trigram_input", False),
        "bottleneck": lambda n: setattr(n.mobilebert.encoder.layer[0], "use_bottleneck", False),
        "shared": lambda n: setattr(n.mobilebert.encoder.layer[0].bottleneck, "key_query_shared_bottleneck", False),
        "ffn": lambda n: reorder(n.mobilebert.encoder.layer[0].ffn),
    }.items():
        yield "mobilebert", token, name, change


def vit_changes():
    return {
        "scale": lambda n: setattr(n.blocks[0].attn, "scale", 0.01),
        "heads": lambda n: (setattr(n.blocks[0].attn, "num_heads", 2), setattr(n.blocks[0].attn, "head_dim", 24)),
        "order": lambda n: reorder(n.blocks),
        "pool": lambda n: setattr(n, "global_pool", "avg"),
        "relu": lambda n: n.blocks[0].mlp._modules.update(act=nn.ReLU()),
        "quick": lambda n: n.blocks[0].mlp._modules.update(act=nn.Identity()),
        "norm-pre": lambda n: n._modules.update(norm_pre=nn.ReLU()),
        "pre-logits": lambda n: n._modules.update(pre_logits=nn.Tanh()),
        "embed-norm": lambda n: n.patch_embed._modules.update(norm=nn.ReLU()),
        "drop-path": lambda n: n.blocks[0]._modules.update(drop_path=nn.Dropout(0.2)),
        "no-flatten": lambda n: setattr(n.patch_embed, "flatten", False),
        "no-embed-class": lambda n: setattr(n, "no_embed_class", True),
        "distilled": lambda n: n.__dict__.update(dist_token=None),
        "own-attention": lambda n: put(
            n.blocks[0], "attn", own("timm.models.vision_transformer", "Attention2", type(n.blocks[0].attn), doubled)),
        "own-mlp": lambda n: put(n.blocks[1], "mlp", own("our_layers", "Mlp", type(n.blocks[1].mlp), doubled)),
        "norm-eps": lambda n: setattr(n.norm, "eps", 0.5),
        "norm-shape": lambda n: setattr(n.norm, "elementwise_affine", False),
        "drop-class": lambda n: n._modules.update(pos_drop=nn.Identity()),
        "attn-drop": lambda n: setattr(n.blocks[0].attn.attn_drop, "p", 0.6),
        "ls": lambda n: n.blocks[0]._modules.update(ls1=nn.ReLU()),
    }  # fmt: skip


def cases(factory, changes, fresh):
    for name, change in changes:
        found = fresh()
        if found is None:
            return
        network, inputs, call = found
        try:
            change(network)
            with torch.no_grad():
                network.eval()
                network(**inputs) if isinstance(inputs, dict) else network(
                    list(inputs) if call == "detector" else inputs
                )
        except Exception as problem:  # this version has none of it, or cannot compute it
            print("left out", factory, name, type(problem).__name__, str(problem)[:100])
            continue
        yield Case(factory + "-" + name, WHERE, KIND, network, inputs, call)


def foreign_networks():
    def tensor(factory):
        def fresh():
            found = classifier(factory)
            return None if found is None else (found[0], found[1], "tensor")

        return fresh

    yield from cases("resnet18", resnet_changes().items(), tensor("resnet18"))
    for factory, name, change in other_changes():
        yield from cases(factory, [(name, change)], tensor(factory))


def foreign_transformers():
    for body, head, name, change in transformer_changes():

        def fresh(body=body, head=head):
            found = language_model(body, head)
            return None if found is None else (found[0], found[1], head)

        yield from cases(body, [(name, change)], fresh)


def foreign_vits():
    from old_networks import pictures
    from timm.models.vision_transformer import VisionTransformer

    def fresh():
        torch.manual_seed(3)
        network = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=5)
        for parameter in network.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        return network.eval(), pictures(32), "tensor"

    yield from cases("vit", vit_changes().items(), fresh)


def foreign_recurrent():
    import old_networks

    def forward(self, x):
        hidden = self.rnn(x)[1]
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.linear(self.dropout(torch.cat((hidden[-2], hidden[-1]), 1)))

    def fresh(kind=nn.LSTM):
        network = old_networks.foreign("model_factories", kind.__name__.capitalize() + "LinearModel", nn.Module,
                                       forward=forward)()  # fmt: skip
        torch.manual_seed(4)
        network.rnn = kind(24, 8, 2, batch_first=True, bidirectional=True)
        network.linear, network.dropout = nn.Linear(16, 2), nn.Dropout(0.2)
        return network, torch.linspace(-2, 2, 4 * 3 * 24).sin().reshape(4, 3, 24), "tensor"

    changes = {
        "time-first": lambda n: setattr(n.rnn, "batch_first", False),
        "one-layer": lambda n: setattr(n.rnn, "num_layers", 1),
        "other-weights": lambda n: setattr(n.rnn, "_flat_weights", [w.data * 2 for w in n.rnn._flat_weights]),
        "order-of-weights": lambda n: n.rnn._flat_weights.reverse(),
        "mode": lambda n: setattr(n.rnn, "mode", "RNN_TANH"),
        "dropout": lambda n: setattr(n.rnn, "dropout", 0.7),
        "no-bias": lambda n: setattr(n.rnn, "bias", False),
        "own-rnn": lambda n: put(n, "rnn", own("our_layers", "LSTM", nn.LSTM, nn.LSTM.forward)),
        "proj": lambda n: setattr(n.rnn, "proj_size", 4),
    }
    yield from cases("lstm", changes.items(), fresh)
    yield from cases("gru", changes.items(), lambda: fresh(nn.GRU))


def foreign_detectors():
    import old_networks
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    images = old_networks.pictures(96, 1)

    def lively(network):
        return old_networks.lively(network, images), images, "detector"

    def faster():
        torch.manual_seed(8)
        try:
            backbone = resnet_fpn_backbone("resnet18", False)
        except TypeError:
            backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
        return lively(detection.FasterRCNN(backbone, num_classes=4, box_score_thresh=0.1, min_size=96, max_size=96))

    def ssd():
        torch.manual_seed(8)
        options = {"pretrained": False, "pretrained_backbone": False}
        try:
            return lively(detection.ssd300_vgg16(num_classes=4, **options))
        except TypeError:
            return lively(detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4))

    def own_at(owner, name, attribute_class=None):
        def change(n):
            holder = n
            for part in owner.split("."):
                holder = holder._modules[part] if part else holder
            old = holder._modules[name]
            put(holder, name, own("our_layers", type(old).__name__, type(old), type(old).forward))

        return change

    changes = {
        "own-heads": own_at("", "roi_heads"),
        "own-rpn": own_at("", "rpn"),
        "own-transform": own_at("", "transform"),
        "own-pooler": own_at("roi_heads", "box_roi_pool"),
        "own-predictor": own_at("roi_heads", "box_predictor"),
        "own-box-head": own_at("roi_heads", "box_head"),
        "own-rpn-head": own_at("rpn", "head"),
        "own-fpn": own_at("backbone", "fpn"),
        "own-body": own_at("backbone", "body"),
        "own-block": own_at("backbone.body.layer2", "1"),
        "own-extra": own_at("backbone.fpn", "extra_blocks"),
        "own-anchors": own_at("rpn", "anchor_generator"),
        "coder": lambda n: setattr(n.roi_heads.box_coder, "weights", (1.0, 1.0, 1.0, 1.0)),
        "coder-clip": lambda n: setattr(n.rpn.box_coder, "bbox_xform_clip", 0.1),
        "threshold": lambda n: setattr(n.roi_heads, "score_thresh", 0.3),
        "nms": lambda n: setattr(n.rpn, "nms_thresh", 0.2),
        "top": lambda n: setattr(n.rpn, "_post_nms_top_n", {"training": 20, "testing": 20}),
        "mean": lambda n: setattr(n.transform, "image_mean", [0.1, 0.2, 0.3]),
        "size": lambda n: setattr(n.transform, "min_size", (128,)),
        "sampling": lambda n: setattr(n.roi_heads.box_roi_pool, "sampling_ratio", 1),
        "output-size": lambda n: setattr(n.roi_heads.box_roi_pool, "scales", [0.5, 0.25, 0.125, 0.0625]),
        "levels": lambda n: setattr(n.roi_heads.box_roi_pool, "featmap_names", ["3", "2", "1", "0"]),
        "anchor-sizes": lambda n: setattr(n.rpn.anchor_generator, "sizes", ((8,), (16,), (32,), (64,), (128,))),
        "returned": lambda n: setattr(
            n.backbone.body, "return_layers", dict(reversed(list(n.backbone.body.return_layers.items())))),
        "order-of-fpn": lambda n: reorder(n.backbone.fpn.inner_blocks),
        "frozen-eps": lambda n: setattr(n.backbone.body.bn1, "eps", 0.3),
        "hook": lambda n: n.roi_heads.box_head.register_forward_hook(function("twice_box", twice)),
        "cells": lambda n: setattr(
            n.rpn.anchor_generator, "cell_anchors", [c * 2 for c in n.rpn.anchor_generator.cell_anchors]),
    }  # fmt: skip
    yield from cases("fasterrcnn", changes.items(), faster)
    if not hasattr(detection, "ssd300_vgg16"):
        return
    single = {
        "own-head": own_at("", "head"),
        "own-classification": own_at("head", "classification_head"),
        "own-backbone": own_at("", "backbone"),
        "own-anchors": own_at("", "anchor_generator"),
        "steps": lambda n: setattr(n.anchor_generator, "steps", [4, 16, 32, 64, 100, 300]),
        "scales": lambda n: setattr(n.anchor_generator, "scales", [s * 2 for s in n.anchor_generator.scales]),
        "clip": lambda n: setattr(n.anchor_generator, "clip", False),
        "pairs": lambda n: setattr(
            n.anchor_generator, "_wh_pairs", [p * 2 for p in n.anchor_generator._wh_pairs]),
        "coder": lambda n: setattr(n.box_coder, "weights", (1.0, 1.0, 1.0, 1.0)),
        "nms": lambda n: setattr(n, "nms_thresh", 0.1),
        "top": lambda n: setattr(n, "topk_candidates", 5),
        "order": lambda n: reorder(n.backbone.extra),
        "columns": lambda n: setattr(n.head.classification_head, "num_columns", 2),
    }  # fmt: skip
    yield from cases("ssd", single.items(), ssd)


FOREIGN = (foreign_networks, foreign_transformers, foreign_vits, foreign_recurrent, foreign_detectors)
