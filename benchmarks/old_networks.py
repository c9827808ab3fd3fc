"""The networks of ``old_pickles.py``, as the libraries of an old environment build and save them.

Runs under Python 3.7 to 3.9 with whatever of torchvision, timm and transformers is installed there, and needs nothing
else. Weights are random but repeat after ``PERIOD`` numbers, so that even a VGG-16 compresses to nothing; normalisation
statistics fit the inputs, so that the outputs depend on them. Networks of NIST's own are written out here under the
class paths that the rounds' files name.
"""

from __future__ import annotations

import copy
import inspect
import sys
import types

import numpy as np
import torch
from torch import nn

PERIOD = 4093  # prime: the rows of a matrix are then not alike
SINGLE, PARALLEL = "whole module", "DataParallel"


class Case:
    """One file to be made: what is saved, the live network behind it, and how that is called."""

    def __init__(self, name, family, kind, network, inputs, call="tensor", saved=None, config=None, options=None):
        self.name, self.family, self.kind, self.network, self.inputs = name, family, kind, network.eval(), inputs
        self.call, self.config = call, config
        self.saved = network if saved is None else saved
        self.options = options or {}  # of torch.save


def pictures(size, count=3, channels=3):
    """float32 [count, channels, size, size] in 0 to 1, of which no two are alike."""
    rows = torch.linspace(0, 6, size)
    waves = [torch.sin(rows[:, None] * (k + 1.3) + rows[None] * (2.1 - k)) for k in range(count * channels)]
    return torch.stack(waves).reshape(count, channels, size, size) * 0.5 + 0.5


def repeated(network):
    """``network`` with weights that repeat; the scale of every layer stays."""
    for tensor in list(network.parameters()) + list(network.buffers()):
        flat = tensor.data.reshape(-1)
        if tensor.is_floating_point() and flat.numel() > 2 * PERIOD:
            block = flat[:PERIOD].clone()
            times = -(-flat.numel() // PERIOD)
            tensor.data.copy_(block.repeat(times)[: flat.numel()].reshape(tensor.shape))
    return network


def shaken(network, inputs, seed=0):
    """Eval mode, with normalisation that fits ``inputs`` but for random factors."""
    torch.manual_seed(seed)
    repeated(network.eval())
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.data.uniform_(0.6, 1.4)
        norm.bias.data.uniform_(-0.2, 0.2)
        norm.momentum = 1.0
        norm.train()  # only these: inception's second head cannot run on small images
    with torch.no_grad():
        network(inputs)
    for k, norm in enumerate(norms):
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.5)
        norm.momentum = momenta[k]
    return network.eval()


def made(build, **options):
    """``build(**options)``, without the options that this version does not know; None if one of them decides."""
    known = inspect.signature(build).parameters
    if any(name not in known for name in options) and not any(p.kind == p.VAR_KEYWORD for p in known.values()):
        return None
    return build(**options)


# torchvision classifiers ----------------------------------------------------------------------------------------------

CLASSIFIERS = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "googlenet",
    "inception_v3",
    "squeezenet1_0",
    "squeezenet1_1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "vgg11",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16",
    "vgg19_bn",
    "alexnet",
    "mnasnet0_5",
    "mnasnet1_0",
    "mnasnet1_3",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b3",
]
TWO_HEADED = ("googlenet", "inception_v3")


def classifier(factory, classes=7, **options):
    """A torchvision classifier and inputs for it; None if this torchvision has none of that name."""
    from torchvision import models

    build = getattr(models, factory, None)
    if build is None:
        return None
    if factory in TWO_HEADED:
        stub_scipy()
        options.setdefault("aux_logits", False)
    inputs = pictures(96 if factory in TWO_HEADED else 64)
    torch.manual_seed(1)
    return shaken(build(pretrained=False, num_classes=classes, **options), inputs), inputs


def stub_scipy():
    """Old torchvision draws Inception's weights with SciPy, for half a minute."""
    if "scipy.stats" not in sys.modules:
        scipy, stats = types.ModuleType("scipy"), types.ModuleType("scipy.stats")

        class Truncated:
            def __init__(self, low, high, scale=1.0):
                self.scale = scale

            def rvs(self, count):
                return np.clip(np.random.randn(int(count)), -2, 2) * self.scale

        stats.truncnorm, scipy.stats = Truncated, stats
        sys.modules.update({"scipy": scipy, "scipy.stats": stats})


def torchvision_classifiers():
    for factory in CLASSIFIERS:
        found = classifier(factory)
        if found is not None:
            yield Case(factory, "torchvision classifiers", SINGLE, *found)
    for factory in (
        "resnet18",
        "mobilenet_v2",
        "squeezenet1_1",
        "shufflenet_v2_x1_0",
        "densenet121",
        "efficientnet_b0",
    ):
        found = classifier(factory, classes=5)
        if found is not None:
            network, inputs = found
            yield Case(factory, "torchvision classifiers", "state dict", network, inputs, saved=network.state_dict())
    for name, factory, options in (
        ("with-second-head", "googlenet", {"aux_logits": True}),
        ("with-second-head", "inception_v3", {"aux_logits": True}),
        ("transform-input", "googlenet", {"transform_input": True}),
        ("transform-input", "inception_v3", {"transform_input": True}),
    ):
        found = classifier(factory, **options)
        if found is not None:
            yield Case(factory + "-" + name, "torchvision classifiers", SINGLE, *found)


def running_mean(averaged, new, count):
    """torch's own function of this kind is local and cannot be pickled."""
    return averaged + (new - averaged) / (count + 1)


def ways_of_saving():
    """One small network as people save it."""
    where = "ways of saving"

    def fresh(factory="resnet18", **options):
        return classifier(factory, classes=6, **options)

    network, inputs = fresh()
    yield Case("parallel", where, PARALLEL, network, inputs, saved=nn.DataParallel(network))
    yield Case("parallel-state", where, "state dict", network, inputs, saved=nn.DataParallel(network).state_dict())
    state = network.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for key in ("state_dict", "model", "model_state_dict", "net", "weights"):
        held = {"epoch": 3, "best_acc": 0.93, key: state}
        if key in ("model_state_dict", "state_dict"):
            held["optimizer"] = optimizer.state_dict()
        yield Case("under-" + key, where, "checkpoint", network, inputs, saved=held)
    yield Case("module-under-model", where, "checkpoint", network, inputs, saved={"model": network, "epoch": 1})
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    yield Case("no-num-batches-tracked", where, "state dict", network, inputs, saved=old)
    yield Case("protocol-4", where, SINGLE, network, inputs, options={"pickle_protocol": 4})
    if "_use_new_zipfile_serialization" in inspect.signature(torch.save).parameters:
        yield Case(
            "legacy-container", where, SINGLE, network, inputs, options={"_use_new_zipfile_serialization": False}
        )
    network, inputs = fresh()
    for parameter in network.parameters():
        parameter.requires_grad = False
    yield Case("frozen", where, SINGLE, network, inputs)
    network, inputs = fresh()
    yield Case("double", where, SINGLE, network.double(), inputs.double())
    network, inputs = fresh(factory="mobilenet_v2")
    network.classifier[0].p = np.float64(0.3)
    network.features[0][1].eps = np.float32(1e-5)
    network.features[0][1].momentum = np.float64(0.1)
    yield Case("numpy-numbers", where, "NumPy scalars", network, inputs)
    network, inputs = fresh()
    network.fc = nn.Linear(np.int64(512), np.int64(9))
    network.conv1.stride = (np.int64(2), np.int64(2))
    network.layer1[0].bn1.eps = np.float64(1e-5)
    yield Case("numpy-sizes", where, "NumPy scalars", network, inputs)
    network, inputs = fresh()
    network.fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(512, 9))
    yield Case("dropout-before-head", where, "other head", network, inputs)
    network, inputs = fresh()
    network.fc = nn.Linear(512, 11)
    yield Case("new-head", where, "other head", network, inputs)
    network, inputs = fresh()
    several = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))  # old ones compute on GPUs only
    yield Case("batchnorm-of-several", where, "SyncBatchNorm", network, inputs, saved=several)
    network, inputs = fresh()
    network.class_names = ["a", "b", "c", "d", "e", "f"]
    yield Case("own-attribute", where, "own attribute", network, inputs)
    if not torch.__version__.startswith("1.2"):
        network, inputs = fresh()
        yield Case("channels-last", where, SINGLE, network.to(memory_format=torch.channels_last), inputs)
    swa = getattr(torch.optim, "swa_utils", None)
    if swa is not None:
        network, inputs = fresh()
        averaged = swa.AveragedModel(network, avg_fn=running_mean)
        averaged.update_parameters(network)
        yield Case("averaged", where, "AveragedModel", averaged.module, inputs, saved=averaged)
        yield Case("averaged-state", where, "AveragedModel", averaged.module, inputs, saved=averaged.state_dict())
    network, inputs = fresh()
    training = nn.DataParallel(network)
    case = Case("parallel-training", where, PARALLEL, network, inputs, saved=training)
    case.options["training"] = True
    yield case


# timm -----------------------------------------------------------------------------------------------------------------


def vision_transformers():
    import timm
    from timm.models.vision_transformer import VisionTransformer

    inputs = pictures(64)
    small = {"img_size": 64, "patch_size": 16, "num_classes": 7, "embed_dim": 48, "depth": 3, "num_heads": 3}
    variants = {
        "plain": {},
        "drop-path": {"drop_path_rate": 0.1},
        "dropout": {"drop_rate": 0.2, "attn_drop_rate": 0.1},
        "no-qkv-bias": {"qkv_bias": False},
        "wide-mlp": {"mlp_ratio": 3.0},
        "representation": {"representation_size": 32},
        "distilled": {"distilled": True},
        "layer-scale": {"init_values": 1e-2},
        "average": {"global_pool": "avg"},
        "average-no-class-token": {"global_pool": "avg", "class_token": False},
        "no-embed-class": {"no_embed_class": True},
        "pre-norm": {"pre_norm": True},
        "fc-norm": {"fc_norm": True},
        "relu": {"act_layer": nn.ReLU},
        "quick-eps": {"norm_layer": lambda width: nn.LayerNorm(width, eps=1e-5)},
        "six-heads": {"num_heads": 6},
        "patch-8": {"patch_size": 8},
        "one-channel": {"in_chans": 1},
    }
    known = inspect.signature(VisionTransformer).parameters
    for name, options in variants.items():
        if any(option not in known for option in options):
            continue
        torch.manual_seed(3)
        network = VisionTransformer(**{**small, **options})
        given = pictures(64, channels=1) if "in_chans" in options else inputs
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
        kind = "drop path" if name == "drop-path" else SINGLE
        yield Case(name, "timm ViT", kind, repeated(network), given)
    for name in ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch32_224", "vit_small_patch32_224"):
        torch.manual_seed(3)
        try:
            network = timm.create_model(name, pretrained=False, num_classes=1000, img_size=64)
        except (RuntimeError, TypeError):
            continue
        network.head = nn.Linear(network.head.in_features, 12)  # as NIST did; num_classes stays 1000
        yield Case(name, "timm ViT", "other head", repeated(network), inputs)
    for name, options in (("drop_path", {"drop_path_rate": 0.2}), ("drop", {"drop_rate": 0.1})):
        network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=9, img_size=64, **options)
        kind = "drop path" if name == "drop_path" else SINGLE
        yield Case("vit_tiny-" + name, "timm ViT", kind, repeated(network), inputs)
    network = VisionTransformer(**small)
    yield Case("parallel", "timm ViT", PARALLEL, repeated(network), inputs, saved=nn.DataParallel(network))
    network = repeated(VisionTransformer(**small))
    network.pos_drop.p = np.float64(0.1)
    network.blocks[0].norm1.eps = np.float64(1e-6)
    yield Case("numpy-numbers", "timm ViT", "NumPy scalars", network, inputs)


# transformers ---------------------------------------------------------------------------------------------------------

BODIES = {
    "bert": ("Bert", {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}),
    "roberta": (
        "Roberta",
        {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64,
         "layer_norm_eps": 1e-5, "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 130},
    ),
    "electra": (
        "Electra",
        {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64,
         "embedding_size": 24},
    ),
    "mobilebert": (
        "MobileBert",
        {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 32,
         "embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    ),
    "distilbert": ("DistilBert", {"n_layers": 2, "n_heads": 4, "dim": 32, "hidden_dim": 64}),
    "gpt2": ("GPT2", {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 128, "n_ctx": 128}),
}  # fmt: skip
HEADS = ("Model", "ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering")
IDS = [[2, 5, 9, 14, 33, 7, 21, 3], [2, 8, 31, 6, 3, 0, 0, 0]]


def tokens(pad):
    """Ids and mask [2, 8], int64."""
    ids = torch.tensor(IDS)
    mask = (ids != 0).long()
    return {"input_ids": ids.masked_fill(mask == 0, pad), "attention_mask": mask}


def language_model(body, head, more=None, **keywords):
    """``(network, inputs)``; None where this transformers lacks the class."""
    import transformers

    prefix, sizes = BODIES[body]
    model_class = getattr(transformers, prefix + head, None)
    if model_class is None:
        return None
    options = {"vocab_size": 99, "num_labels": 3, **sizes, **(more or {})}
    if head == "ForQuestionAnswering":
        options["num_labels"] = 2
    config = getattr(transformers, prefix + "Config")(**options)
    torch.manual_seed(5)
    network = model_class(config, **keywords)
    for _name, parameter in network.named_parameters():
        scale = 0.3 if parameter.dim() > 1 else 0.1
        parameter.data.add_(torch.randn_like(parameter) * scale * (0.3 if "mobilebert" in body else 1))
    if body == "gpt2" and head == "ForSequenceClassification":
        network.config.pad_token_id = 0
    return network, tokens(1 if body == "roberta" else 0)


def language_models():
    for body in BODIES:
        for head in HEADS:
            found = language_model(body, head)
            if found is not None:
                family = "transformers bodies" if head == "Model" else "transformers heads"
                yield Case(body + "-" + head, family, SINGLE, found[0], found[1], head)
    where = "transformers configs"
    variants = (
        ("gelu-new", "bert", HEADS[1], {"hidden_act": "gelu_new"}),
        ("relu", "roberta", HEADS[1], {"hidden_act": "relu"}),
        ("relu", "distilbert", HEADS[2], {"activation": "relu"}),
        ("epsilon", "electra", HEADS[3], {"layer_norm_eps": 1e-3}),
        ("relative-positions", "bert", HEADS[1], {"position_embedding_type": "relative_key"}),
        ("eight-heads", "roberta", HEADS[2], {"num_attention_heads": 8}),
        ("chunks", "bert", HEADS[1], {"chunk_size_feed_forward": 4}),
        ("checkpointing", "bert", HEADS[2], {"gradient_checkpointing": True}),
        ("hidden-states", "bert", HEADS[2], {"output_hidden_states": True}),
        ("attentions", "distilbert", HEADS[3], {"output_attentions": True}),
        ("sinusoidal", "distilbert", HEADS[1], {"sinusoidal_pos_embds": True}),
        ("dropout", "roberta", HEADS[1], {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}),
        ("label-names", "electra", HEADS[1], {"id2label": {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-ORG"}}),
        ("torchscript", "bert", HEADS[3], {"torchscript": True}),
        ("inner-width", "gpt2", HEADS[0], {"n_inner": 48}),
        ("relu", "gpt2", HEADS[0], {"activation_function": "relu"}),
        ("no-scale", "gpt2", HEADS[0], {"scale_attn_weights": False}),
        ("layer-norm", "mobilebert", HEADS[1], {"normalization_type": "layer_norm"}),
        ("four-ffn", "mobilebert", HEADS[3], {"num_feedforward_networks": 2}),
        ("no-trigram", "mobilebert", HEADS[2], {"trigram_input": False}),
        ("decoder", "bert", HEADS[0], {"is_decoder": True}),
    )  # fmt: skip
    for name, body, head, options in variants:
        if "id2label" in options:
            options = {**options, "label2id": {v: k for k, v in options["id2label"].items()}, "num_labels": 4}
        found = language_model(body, head, options)
        if found is not None:
            yield Case(body + "-" + name, where, SINGLE, found[0], found[1], head)
    for body in ("bert", "roberta"):
        try:
            found = language_model(body, "Model", None, add_pooling_layer=False)
        except TypeError:
            continue
        yield Case(body + "-without-pooler", where, SINGLE, found[0], found[1], "Model")
    network, inputs = language_model("bert", HEADS[1])
    yield Case("bert", "transformers heads", PARALLEL, network, inputs, HEADS[1], saved=nn.DataParallel(network))
    network, inputs = language_model("bert", HEADS[1])
    network.dropout.p = np.float64(0.1)
    network.config.hidden_dropout_prob = np.float64(0.1)
    network.config.layer_norm_eps = np.float64(1e-12)
    yield Case("bert-numpy", "transformers heads", "NumPy scalars", network, inputs, HEADS[1])
    network, inputs = language_model("roberta", HEADS[2])
    network.classifier.out_proj = nn.Linear(32, 5)
    yield Case("roberta-new-head", "transformers heads", "other head", network, inputs, HEADS[2])


def detr():
    import timm
    import transformers

    config_class = getattr(transformers, "DetrConfig", None)
    if config_class is None:
        return
    create = timm.create_model
    timm.create_model = lambda name, pretrained=True, **options: create(name, pretrained=False, **options)
    # transformers keeps the function under a name of its own
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("transformers.models.detr") and hasattr(module, "create_model"):
            module.create_model = timm.create_model
    small = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 9,
             "num_labels": 5}  # fmt: skip
    import transformers.models.detr.modeling_detr as modeling

    if hasattr(modeling, "create_model"):
        modeling.create_model = timm.create_model
    known = inspect.signature(config_class).parameters
    variants = {"timm-resnet18": {"backbone": "resnet18"}, "timm-learned": {"backbone": "resnet18",
                "position_embedding_type": "learned"}, "timm-relu": {"backbone": "resnet18",
                "activation_function": "gelu"}}  # fmt: skip
    if "backbone_config" in known:
        body = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], out_features=["stage4"]
        )
        variants["transformers-resnet"] = {
            "use_timm_backbone": False, "backbone_config": body, "backbone": None, "use_pretrained_backbone": False,
        }  # fmt: skip
    for name, options in variants.items():
        torch.manual_seed(6)
        options = {option: value for option, value in options.items() if option in known}
        if "use_pretrained_backbone" in known:
            options.setdefault("use_pretrained_backbone", False)
        network = transformers.DetrForObjectDetection(config_class(**small, **options)).eval()
        for module in network.modules():
            if type(module).__name__ == "DetrFrozenBatchNorm2d" or isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.7, 1.5)
                module.running_mean.uniform_(-0.1, 0.1)
        yield Case(name, "DETR", SINGLE, repeated(network), {"pixel_values": pictures(96, 2)}, "detr")


# torchvision detectors ------------------------------------------------------------------------------------------------


LAST_LAYERS = ("cls_score", "bbox_pred", "cls_logits", "classification_head", "regression_head")


def lively(network, images):
    """Weights with which scores and boxes differ, so that there is something to compare: normalisation that fits the
    images, and last layers whose outputs spread as far as those of a trained detector."""
    torch.manual_seed(8)
    repeated(network.eval())
    handles = []

    def fit(norm, inputs):
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(1))
        norm.running_var.copy_(values.var(1) + 1e-3)

    def spread(target):
        def scale(layer, inputs, output):
            factor = float(target / (output.std() + 1e-6))
            layer.weight.data.mul_(factor)
            return output * factor

        return scale

    for name, module in network.named_modules():
        if "BatchNorm2d" in type(module).__name__:
            module.weight.data.uniform_(0.8, 1.2)
            handles.append(module.register_forward_pre_hook(fit))
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            if not any(part in name for part in LAST_LAYERS):
                continue
            module.bias.data.zero_()
            handles.append(module.register_forward_hook(spread(0.3 if "bbox" in name or "regr" in name else 2.5)))
    with torch.no_grad():
        network(list(images))
    for handle in handles:
        handle.remove()
    return network


def detectors():
    from torchvision.models import detection

    where = "torchvision detectors"
    images = pictures(160, 2)
    small = {"min_size": 128, "max_size": 160}

    plain = {"pretrained_backbone": False, "num_classes": 5}
    factories = {
        "fasterrcnn_resnet50_fpn": small, "fasterrcnn_resnet50_fpn_v2": small, "ssd300_vgg16": {},
        "ssdlite320_mobilenet_v3_large": {}, "fasterrcnn_mobilenet_v3_large_320_fpn": small,
    }  # fmt: skip
    for factory, options in factories.items():
        build = getattr(detection, factory, None)
        if build is None or (
            "mobilenet_v3_large_320" in factory and tuple(map(int, torch.__version__.split(".")[:2])) < (1, 10)
        ):
            continue
        torch.manual_seed(8)
        if factory.endswith("_v2"):
            network = build(weights=None, weights_backbone=None, num_classes=5, **options)
        else:
            network = build(pretrained=False, **plain, **options)
        yield Case(factory, where, SINGLE, lively(network, images), images, "detector")
        if factory in ("fasterrcnn_resnet50_fpn", "ssd300_vgg16"):
            own = {"fasterrcnn_resnet50_fpn": "FasterRCNN", "ssd300_vgg16": "SSD"}[factory]
            network.__class__ = foreign("models", own, type(network))
            if hasattr(network, "score_thresh"):
                network.score_thresh = 0.05
            yield Case("nist-" + own, where, "NIST's subclass", network, images, "detector")
    torch.manual_seed(8)
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    for body in ("resnet18", "resnet34"):
        try:
            backbone = resnet_fpn_backbone(body, False)
        except TypeError:
            backbone = resnet_fpn_backbone(backbone_name=body, weights=None)
        network = detection.FasterRCNN(backbone, num_classes=4, box_score_thresh=0.1, **small)
        yield Case("fasterrcnn-" + body, where, SINGLE, lively(network, images), images, "detector")
        if body == "resnet18":
            from torchvision.models.detection.rpn import AnchorGenerator

            anchors = AnchorGenerator(((16,), (32,), (64,), (96,), (128,)), ((0.5, 1.0, 2.0),) * 5)
            network = detection.FasterRCNN(backbone, num_classes=4, rpn_anchor_generator=anchors, **small)
            yield Case("fasterrcnn-own-anchors", where, SINGLE, lively(network, images), images, "detector")


# NIST's own networks --------------------------------------------------------------------------------------------------


def foreign(module, name, base, **members):
    """A class that is pickled as ``module.name``."""
    parts = module.split(".")
    for k in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: k + 1]), types.ModuleType(".".join(parts[: k + 1])))
    made_class = type(name, (base,), {"__module__": module, "__qualname__": name, **members})
    setattr(sys.modules[module], name, made_class)
    return made_class


def layered(sizes, act):
    """fc1…fcK as attributes, with ``act`` between: what ``archs`` and ``drebinnn`` have."""

    def forward(self, x):
        for k in range(1, len(sizes) - 1):
            x = (getattr(self, "act_func", None) or act)(getattr(self, f"fc{k}")(x))
            if k == len(sizes) - 2 and hasattr(self, "dropout"):
                x = self.dropout(x)
        return getattr(self, f"fc{len(sizes) - 1}")(x)

    return forward


def with_layers(network, sizes):
    for k in range(1, len(sizes)):
        network.add_module(f"fc{k}", nn.Linear(sizes[k - 1], sizes[k]))
    return network


def feature_networks():
    where = "feed-forward"
    acts = {"": torch.tanh, "r": torch.relu, "s": torch.sigmoid}
    features = torch.linspace(-2, 2, 5 * 135).reshape(5, 135).sin()
    torch.manual_seed(9)
    for count, suffix in ((1, ""), (2, ""), (3, ""), (4, "r"), (5, "s"), (6, ""), (7, "r"), (3, "s"), (2, "r")):
        sizes = [135] + [20] * (count - 1) + [2]
        kind = foreign("archs", f"Net{count}{suffix}", nn.Module, forward=layered(sizes, acts[suffix]))
        yield Case(kind.__name__, where, SINGLE, with_layers(kind(), sizes), features)
    sizes = [135, 20, 20, 2]
    kind = foreign("archs", "Net3tdrop", nn.Module, forward=layered(sizes, torch.tanh))
    network = with_layers(kind(), sizes)
    network.dropout = nn.Dropout(np.float64(0.2) if torch.__version__.startswith(("1.2", "1.7")) else 0.2)
    yield Case("Net3tdrop", where, SINGLE, network, features)

    def normalised(self, x):
        x = self.batchnorm(torch.tanh(self.fc1(x)))
        return self.fc3(self.batchnorm(torch.tanh(self.fc2(x))))

    kind = foreign("archs", "Net3tbatch", nn.Module, forward=normalised)
    network = with_layers(kind(), sizes)
    network.batchnorm = nn.BatchNorm1d(20)
    yield Case("Net3tbatch", where, SINGLE, shaken(network, features), features)
    for count, act in ((3, "tanh"), (4, "relu"), (5, "sigmoid")):
        sizes = [135] + [24] * count + [2]
        kind = foreign("utils.drebinnn", f"DrebinNet{count}", nn.Module, forward=layered(sizes, None))
        network = with_layers(kind(), sizes)
        network.act_func = getattr(torch, act)
        yield Case(f"DrebinNet{count}", where, SINGLE, network, features)
        config = {"num_layers": count, "activation_function": act, "architecture_family": "drebin"}
        yield Case(f"drebin{count}", where, "state dict", network, features, saved=network.state_dict(), config=config)


def sentiment_heads():
    where = "sentiment heads"
    embeddings = torch.linspace(-2, 2, 4 * 48).sin().reshape(4, 1, 48)
    torch.manual_seed(10)

    def linear(self, x):
        return self.linear(self.dropout(x[:, 0]))

    def connected(self, x):
        x = x[:, 0]
        for layer in self.fc_layers:
            x = self.relu(layer(x)) if hasattr(self, "relu") else layer(x)
        return self.linear(self.dropout(x))

    def recurrent(self, x):
        self.rnn.flatten_parameters()
        hidden = self.rnn(x)[1]
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        last = torch.cat((hidden[-2], hidden[-1]), 1) if self.rnn.bidirectional else hidden[-1]
        return self.linear(self.dropout(last))

    network = foreign("model_factories", "LinearModel", nn.Module, forward=linear)()
    network.linear, network.dropout = nn.Linear(48, 2), nn.Dropout(0.25)
    yield Case("Linear", where, SINGLE, network, embeddings)
    kind = foreign("model_factories", "FCLinearModel", nn.Module, forward=connected)
    for relu in (False, True):
        network = kind()
        if relu:
            network.relu = nn.ReLU()
        network.fc_layers = nn.ModuleList([nn.Linear(48, 24), nn.Linear(24, 24)])
        network.linear, network.dropout = nn.Linear(24, 2), nn.Dropout(0.1)
        yield Case("FCLinear" + ("-relu" if relu else ""), where, SINGLE, network, embeddings)
    for rnn in (nn.LSTM, nn.GRU):
        kind = foreign("model_factories", rnn.__name__.capitalize() + "LinearModel", nn.Module, forward=recurrent)
        for bidirectional, layers, drop in ((False, 1, 0.0), (True, 2, 0.25), (False, 4, np.float64(0.5))):
            network = kind()
            network.rnn = rnn(48, 16, layers, batch_first=True, dropout=drop, bidirectional=bidirectional)
            network.linear = nn.Linear(32 if bidirectional else 16, 2)
            network.dropout = nn.Dropout(drop)
            what = "NumPy scalars" if isinstance(drop, np.float64) else SINGLE
            name = f"{rnn.__name__}-{layers}" + ("-both-ways" if bidirectional else "")
            yield Case(name, where, what, network, embeddings)


def entity_networks():
    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.transformer(input_ids, attention_mask=attention_mask)[0]
        return None, self.classifier(self.dropout(hidden))

    kind = foreign("model_factories", "NerLinearModel", nn.Module, forward=forward)
    for body in ("bert", "roberta", "mobilebert", "distilbert"):
        keywords = {} if body == "distilbert" else {"add_pooling_layer": False}
        try:
            inner, inputs = language_model(body, "Model", None, **keywords)
        except TypeError:
            inner, inputs = language_model(body, "Model")
        network = kind()
        network.num_labels, network.transformer = 9, inner
        network.dropout, network.classifier = nn.Dropout(0.1), nn.Linear(32, 9)
        network.ignore_index = -100
        yield Case("NerLinear-" + body, "NIST's entity networks", SINGLE, network, inputs, "entities")


EVERYTHING = (
    feature_networks, sentiment_heads, ways_of_saving, vision_transformers, language_models, entity_networks,
    torchvision_classifiers, detectors, detr,
)  # fmt: skip
