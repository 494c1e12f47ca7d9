"""Training: from faces to a detector: model, losses, data, training loop, checkpoint.

To add a training-time manipulation or a temporal head, write it in a module and name it here.
"""

# Name in train.manipulations: "module:function". See blending.blend_other.
MANIPULATIONS = {
    "blend": "deepfake_detector.training.blending:blend_other",
    "self_blend": "deepfake_detector.training.blending:blend_self",
}

# Name in model.temporal: "module:class". See temporal_heads.GRUHead.
TEMPORAL_HEADS = {
    "gru": "deepfake_detector.training.temporal_heads:GRUHead",
    "attention": "deepfake_detector.training.temporal_heads:AttentionHead",
}
