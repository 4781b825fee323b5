"""Any model run over pictures with its inner activations as outputs, in a process of its own.

    found = observe(Request(model, images=paths))      host, one model or a pair of them

The runtime gives out only the tensors that are outputs and reuses the memory of all others, so
copies of the model are run ("probes") whose outputs are some of its activations.
"""
