"""Parameters and attributes that the classifiers share, documented once."""

from __future__ import annotations

from typing import TypeVar

_SHARED_PARAMETERS = """\
backbone : str or callable, default="resnet50"
        A torchvision ResNet by name (``"resnet18"`` to ``"resnet152"``), or a callable that
        returns a :class:`torch.nn.Module` with torchvision's stage names, or with an attribute
        ``stages`` that names its own.
    weights : "imagenet", str, path or None, default="imagenet"
        torchvision's best ImageNet weights, loaded at ``fit``; or a state dict in a ``.pth``
        (read with ``weights_only=True``) or ``.safetensors`` file; or None for what the
        constructor of the network makes.
    trainable : str, default="head"
        The first trained stage: ``"head"``, ``"layer4"``, ``"layer3"``, ``"layer2"``,
        ``"layer1"`` or ``"all"``. What stands before it is the frozen trunk.
    image_size : int, default=224
        Side of the square that the network sees, in pixels. Files are read and rows resized to
        it.
    image_shape : (int, int), default=None
        Height and width of rows that are not square.
    hidden_layer_sizes : tuple of int, default=()
        Widths of the hidden layers of the head. Empty: a linear head.
    dropout : float, default=0.0
        Probability of dropping a value before each dense layer, in [0, 1).
    lr : float, default=1e-3
        Learning rate of AdamW.
    lr_schedule : {"constant", "one_cycle", "cosine"}, default="constant"
        How the learning rate goes, batch by batch, through `max_epochs`: it stays at `lr`; rises
        to it for 3/10 of the training and falls to almost 0 (Smith and Topin's 1cycle policy,
        :class:`torch.optim.lr_scheduler.OneCycleLR`), as networks trained from scratch want; or
        falls from it to 0 along half a cosine. Where training stops early, the rate has not fallen.
    weight_decay : float, default=1e-2
        Decoupled weight decay of AdamW.
    label_smoothing : float, default=0.0
        Share of each training label that is spread evenly over the classes of the (binary)
        problem, in [0, 1). Validation losses are of the labels as they are.
    mixup : float, default=0.0
        Each batch is mixed with itself in another order, images (or activations) and losses
        alike, in shares drawn from a beta distribution with both parameters at this value
        (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018). 0 mixes nothing;
        0.1 to 0.4 are usual.
    max_epochs : int, default=30
        Maximum number of epochs.
    batch_size : int, default=32
        Images per step, and per forward pass. A last batch of one joins the one before it.
    augment : bool or int, default=False
        Train on variants of each image (rotation, shift, zoom, contrast; no mirror image): random
        ones for ``trainable="all"``, a fixed number of views below a cut, whose activations are
        kept. True is 4 views.
    early_stopping : bool, default=False
        Hold out a validation part, stop when its loss no longer falls, and return to the epoch
        of its least loss. Otherwise training stops when the training loss no longer falls.
    validation_fraction : float, default=0.1
        About this share of the rows is held out, stratified and by patient.
    group_by : callable, default=None
        From a path to its patient, a string or an integer, for internal splits where ``groups``
        cannot be passed.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        A loss that is lower by more than this counts as an improvement for `n_iter_no_change`.
    callbacks : list of skorch callbacks, default=None
        Added to every tail's skorch net.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes in the loss. ``"balanced"`` is computed within each binary problem,
        after the sampler; a dict gives a weight per label and holds in all of them.
    sampler : imbalanced-learn sampler, default=None
        Resamples the training part of each binary problem, as activations. One that makes new
        rows (SMOTE) needs ``trainable="head"``. The validation part of early stopping, and the
        final MLP of ``ResNetStacking``, weight the classes as the sampler makes them.
    device : str, default="auto"
        CUDA, else Apple's MPS, else the CPU; or a PyTorch device.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Type of the matrix products. ``"auto"`` is float32 but on CUDA, where it is bfloat16 (or
        float16 on cards without).
    engine : {"auto", "torch", "onnxruntime"}, default="auto"
        What runs the trunk. ``"auto"`` is onnxruntime where the extra ``cpu`` is installed, in
        float32 on the CPU and for a backbone given by name, and PyTorch otherwise. Activations of
        the two differ by a rounding error and are cached apart.
    memory : str, path, CacheFolder or joblib.Memory, default=None
        Folder where activations are kept between processes. By default they are kept in memory,
        up to 1 GiB for the process, and nothing is written to disk.
    n_jobs : int, default=None
        Processes that fit binary problems, and threads that decode files.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, order, dropout, augmentation and internal splits. None draws the seed from
        numpy's global generator; a trunk without weights is then still the same each time.
    verbose : int, default=0
        1 shows progress bars of the trunk and of each training. 2 prints a line for the trunk, for
        the cache and for each epoch instead."""
_SHARED_ATTRIBUTES = """\
classes_ : ndarray of shape (n_classes,)
        The labels.
    trunk_ : ResNetFeatures
        The frozen part, fitted.
    cache_info_ : (hits, misses, passes_saved)
        A named tuple: images whose activations ``fit`` found in the cache, images that passed the
        trunk, and how much more often the tails used an image, in every epoch of every one of
        them and to predict. What workers do is not counted.
    n_features_in_ : int
        Pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where X has string column names.
    validation_indices_ : ndarray of int, or None
        Rows of X that early stopping held out."""
_T = TypeVar("_T", bound=type)


def documented(cls: _T) -> _T:
    """Fill the shared parameters and attributes into a docstring."""
    if cls.__doc__:  # python -OO strips it
        text = cls.__doc__.replace("{parameters}", _SHARED_PARAMETERS)
        cls.__doc__ = text.replace("{attributes}", _SHARED_ATTRIBUTES)
    return cls


_COMBINED_ATTRIBUTES = """\
n_iter_ : list of int
        Epochs trained, one number per estimator, as in the next four.
    loss_curve_ : list of list of float
        Training loss by epoch.
    validation_scores_ : list of list of float, or None
        Validation loss by epoch, negated; None without early stopping.
    best_validation_score_ : list of float, or None
        The highest of these.
    history_ : list of skorch.history.History
        Everything skorch recorded. A pickle of the model has the epochs, not their batches."""


def documented_combined(cls: _T) -> _T:
    """Fill the attributes of combined models, too, into a docstring."""
    if cls.__doc__:
        cls.__doc__ = cls.__doc__.replace("{training}", _COMBINED_ATTRIBUTES)
    return documented(cls)
