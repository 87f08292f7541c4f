import subprocess
import sys

import torch

from quatrain.ops.compilation import assume_constant_result


def test_the_mark_is_that_of_torch():
    def ours():
        return 1

    def theirs():
        return 1

    assert assume_constant_result(ours) is ours
    torch.compiler.assume_constant_result(theirs)
    assert vars(ours) == vars(theirs)


def test_the_compiler_is_not_imported_with_the_library():
    use = "quatrain.GeneralizedAttention(8, terms='1111', heads=2)"
    source = f"import quatrain, sys; {use}; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
