"""The traps of the stack, numbered: each is shown without its remedy, and the remedy is shown to hold.

1   a message whose handler raised is acknowledged by nameko; `requeue_on_error` spins       test_messages
2   kombu acknowledges a body it cannot decode, and logs it                                  test_messages
3   SIGTERM loses the acknowledgements of finished handlers; an idle HTTP service stays      test_stopping
4   the acknowledgement comes before a provider's `worker_result`; `worker_setup` kills      test_messages
5   psycopg blocks the hub of eventlet                                                       test_stalls
6   publishing on a frozen connection hangs                                                  test_publishing
7   an event that no queue takes reports success                                             test_publishing
8   nameko declares classic queues; on a quorum queue it loops                               test_publishing
9   HTTP and events share one pool; bodies of any size; SQL in answers                       test_http
10  a handler that computes misses heartbeats, and its container dies of it                  test_stalls
11  two services in one process share a port                                                 test_http
12  the command `nameko` needs pkg_resources                                                 test_stopping
13  ON CONFLICT DO NOTHING has a row count of -1                                             test_database
14  timers run on every replica                                                              test_database
15  the memory broker confirms nothing, returns nothing and dead-letters nothing             test_memory_broker
16  Debian's wrappers do not find a private node                                             test_memory_broker
17  nameko's web server holds back 4096 bytes                                                test_http
18  the content type of Prometheus gets its charset twice                                    test_http

What needs eventlet runs in a program of its own below `programs/`: its patches reach the whole process.
"""
