"""RebarNet's layers on processors with AVX2, or AVX-512 BF16 for bfloat16, as tasks that Numba compiles for torch's own
threads.

`mirror_conv`, `max_pool` and `norm_gelu` are the layers, each with the test that says when it applies; where it does
not, the network takes torch's. What lies beneath: `team` runs tasks, `lanes` computes with sixteen numbers at once,
`formats` and `powers` say what numbers are in memory, `tile` multiplies; `fold` and `winograd` are the identities,
`convolve`, `packing`, `filter_gradient` and `gradient_rows` the parts of the convolution; `whole_factors` says where
products are of int16.
"""
