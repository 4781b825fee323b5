"""The study of quantization schemes: a grid of cells, each made, counted, run and scored alike.

    Grid (cell)             scheme x granularity x bits x search x recovery x activations
    -> filters              weights as each cell stores them              filters, combined
    -> bits, proxy          what they take, what they cost at the outputs  made, proxy
    -> model -> detections  float weights or int8 ones, this machine's runtime   models, running
    -> figures              AP, what is lost, agreement                   scoring
    -> table, JSON, CSV, picture                                          tables, written, picture

`conduct` is the order of it; `engine` says on which machines.  Only the command line imports this.
"""
