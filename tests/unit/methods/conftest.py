from learn_cases import one_thread as one_thread
