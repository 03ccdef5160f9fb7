"""The list of bad inputs, by number: what is sent, which answer it gets, and that nothing changes.

1-14   syntax of HTTP, on both servers, by raw sockets where no client would send such a thing   test_syntax
15-34  fields                                                                                    test_fields
38-51  tokens, rights, two persons, rates, addresses in the network, but for what follows             test_who_asks
44-45  repeats under one key                                                                     test_repeats
46-50  stale changes, markup, paths                                                              test_fields
55-67  files                                                                                     test_files
68-79  events                                                                                    test_events

`test_complete` holds the list itself, and fails when a number is tested nowhere. What else can be wrong is in
`test_more`.
"""
