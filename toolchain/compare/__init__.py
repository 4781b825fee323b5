"""Two models, or two runs of one: which differences are real and which are noise.

FOLDER, FOLDER:RUN -> Side: a model and the runs that repeat it    sides
-> Pair                which with which                            pairs
-> Reason              what else differs, and doubts               conditions
-> Verdict             AP, latency, memory, file                   verdicts
     accuracy (paired bootstrap), spans (ratio of times), student
-> text, Markdown, JSON, HTML                                      written, html
"""
