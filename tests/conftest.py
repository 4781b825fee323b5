import signal

from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test asserts on time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell's background commands ignore Ctrl-C, and so would what is interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
