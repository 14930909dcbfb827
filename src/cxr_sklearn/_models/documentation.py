"""Parameters and attributes that the classifiers share, documented once."""

from __future__ import annotations

from typing import TypeVar

_SHARED_PARAMETERS = """\
backbone : str or callable, default="resnet50"
        The network: the name of a torchvision ResNet (``"resnet18"`` to ``"resnet152"``), or a
        callable that returns a :class:`torch.nn.Module`. The module has the stage names of
        torchvision's ResNets, or lists its own in an attribute ``stages``.
    weights : "imagenet", str, path or None, default="imagenet"
        Initial weights: torchvision's best ImageNet weights, which ``fit`` downloads once; the
        path of a state dict in a ``.pth`` file (read with ``weights_only=True``) or a
        ``.safetensors`` file; or None for the weights with which the network is constructed.
    trainable : str, default="head"
        The first stage that is trained: ``"head"``, ``"layer4"``, ``"layer3"``, ``"layer2"``,
        ``"layer1"`` or ``"all"``. The stages before it are the frozen trunk.
    image_size : int, default=224
        Side of the square images that the network takes, in pixels. Other images are resized.
    image_shape : (int, int), default=None
        Height and width of rows of pixels that are not square.
    hidden_layer_sizes : tuple of int, default=()
        Widths of the hidden layers of the head. With ``()``, the head is linear.
    dropout : float, default=0.0
        Probability with which an input of a layer of the head is set to 0 in training, in [0, 1).
    lr : float, default=1e-3
        Learning rate of AdamW.
    lr_schedule : {"constant", "one_cycle", "cosine"}, default="constant"
        Change of the learning rate after each batch, over `max_epochs`. ``"one_cycle"`` increases
        it to `lr` during the first 3/10 of the training, and then decreases it to almost 0 (Smith
        and Topin's 1cycle policy, :class:`torch.optim.lr_scheduler.OneCycleLR`); use it for
        networks that are trained from scratch. ``"cosine"`` decreases it from `lr` to 0 along half
        a cosine. If the training stops early, the schedule is not completed.
    weight_decay : float, default=1e-2
        Decoupled weight decay of AdamW.
    label_smoothing : float, default=0.0
        Share of each training label that is distributed evenly over the classes of the problem, in
        [0, 1). Validation losses use the original labels.
    mixup : float, default=0.0
        Parameter of the beta distribution for mixup: each image (or its activations) of a training
        batch is mixed with another one of the same batch, and so are the losses (Zhang et al.,
        "mixup: Beyond empirical risk minimization", ICLR 2018). 0 switches it off; 0.1 to 0.4 are
        common values.
    max_epochs : int, default=30
        Maximum number of epochs.
    batch_size : int, default=32
        Number of images per training step and per forward pass. A last batch of one image is added
        to the batch before it.
    augment : bool or int, default=False
        Whether to train on variants of each image: rotated, shifted, zoomed and with another
        contrast, but not mirrored. With ``trainable="all"``, new random variants are made in each
        epoch. Otherwise there is a frozen trunk, and each image has a fixed number of variants
        (views), whose activations are stored. True means 4 views.
    early_stopping : bool, default=False
        Whether to hold out a validation part, to stop when its loss no longer decreases, and to
        return to the epoch with its lowest loss. Otherwise the training stops when the training
        loss no longer decreases.
    validation_fraction : float, default=0.1
        Share of the rows in the validation part. It is stratified, and does not divide patients.
    group_by : callable, default=None
        Function from a path to its patient, a string or an integer. Internal splits use it if
        ``groups`` cannot be passed to ``fit``.
    n_iter_no_change : int, default=10
        Number of epochs without improvement after which the training stops.
    tol : float, default=1e-4
        Minimum decrease of the loss that counts as an improvement for `n_iter_no_change`.
    callbacks : list of skorch callbacks, default=None
        Callbacks for the training of each network. Each network gets a copy of its own.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes in the loss. ``"balanced"`` is computed within each binary problem,
        after the sampler. A dict has a weight for each label, which is used in all problems.
    sampler : imbalanced-learn sampler, default=None
        Sampler for the training part of each binary problem. It gets activations instead of
        images. One that makes new rows, such as SMOTE, needs ``trainable="head"``. The validation
        part of early stopping, and the training rows of the final MLP of ``ResNetStacking``, are
        not resampled. Their rows are weighted instead, so that the classes have the shares that the
        sampler gives them.
    device : str, default="auto"
        A PyTorch device. ``"auto"`` is CUDA if available, then Apple's MPS, then the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Type of the matrix products. ``"auto"`` is float32 on the CPU and on MPS. On CUDA it is
        bfloat16, or float16 if the card does not support that.
    engine : {"auto", "torch", "onnxruntime"}, default="auto"
        Library that runs the trunk. ``"auto"`` is onnxruntime if the extra ``cpu`` is installed,
        the device is the CPU, the precision is float32 and the backbone is given by name, and
        PyTorch otherwise. The activations of the two differ by rounding errors, so that they are
        stored separately.
    memory : str, path, CacheFolder or joblib.Memory, default=None
        Folder in which activations are stored for other processes and later runs. By default they
        are stored in memory, up to 1 GiB per process, and nothing is written to disk.
    n_jobs : int, default=None
        Number of processes that fit binary problems, and of threads that decode files.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, dropout, augmentation and internal splits. With None, a seed is
        drawn from numpy's global generator. The random weights of a trunk with ``weights=None``
        then come from a fixed seed, so that they are the same each time.
    verbose : int, default=0
        1 shows progress bars for the trunk and for each training. 2 prints a line for the trunk,
        for the cache and for each epoch instead."""
_SHARED_ATTRIBUTES = """\
classes_ : ndarray of shape (n_classes,)
        The labels.
    trunk_ : ResNetFeatures
        The frozen part, fitted.
    cache_info_ : (hits, misses, passes_saved)
        A named tuple. ``hits`` is the number of images with activations in the cache. ``misses`` is
        the number of images that passed the trunk. ``passes_saved`` is the number of additional
        forward passes that networks without a shared trunk would have made, in all epochs and for
        predictions. Work in other processes is not counted.
    class_prior_ : ndarray of shape (n_classes,)
        Shares of the classes for which ``predict_proba`` holds: equal with
        ``class_weight="balanced"``, and otherwise those of the weighted and resampled training
        set. With three classes or more, the probabilities of ``ResNetOvR`` hold for the priors of
        its networks, in ``binary_prior_``. Its ``class_prior_`` contains the class shares of the
        weighted training set.
    n_features_in_ : int
        Number of pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if they are strings.
    validation_indices_ : ndarray of int, or None
        Row numbers of X in the validation part; None without early stopping."""
_T = TypeVar("_T", bound=type)


def documented(cls: _T) -> _T:
    """Fill the shared parameters and attributes into a docstring."""
    if cls.__doc__:  # python -OO strips it
        text = cls.__doc__.replace("{parameters}", _SHARED_PARAMETERS)
        cls.__doc__ = text.replace("{attributes}", _SHARED_ATTRIBUTES)
    return cls


_COMBINED_ATTRIBUTES = """\
n_iter_ : list of int
        Number of epochs of each estimator. The next four attributes also have one item per
        estimator.
    loss_curve_ : list of list of float
        Training loss by epoch.
    validation_scores_ : list of list of float, or None
        Validation loss by epoch, negated; None without early stopping.
    best_validation_score_ : list of float, or None
        The highest of these scores.
    history_ : list of skorch.history.History
        Records of skorch. A saved model contains those of the epochs, but not of the batches."""


def documented_combined(cls: _T) -> _T:
    """Fill the attributes of combined models, too, into a docstring."""
    if cls.__doc__:
        cls.__doc__ = cls.__doc__.replace("{training}", _COMBINED_ATTRIBUTES)
    return documented(cls)
