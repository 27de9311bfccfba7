"""The demo: a phantom study is sent to the node, and its coded findings come back."""
