"""First-order rules: an optax optimiser on the gradient through the physics.

`rule` is what they share, `named` are the optimisers with a class of their own. `soap`, `shampoo`
and `adahessian` are optimisers that optax lacks, the first two on the matrices of `kronecker`.
`any_optax` is any other optimiser of optax by its name; `constructors` reads its options from
optax.
"""

from physopt.optimizers.first_order.adahessian import AdaHessian as AdaHessian
from physopt.optimizers.first_order.any_optax import AnyOptax as AnyOptax
from physopt.optimizers.first_order.named import LBFGS as LBFGS
from physopt.optimizers.first_order.named import SGD as SGD
from physopt.optimizers.first_order.named import Adadelta as Adadelta
from physopt.optimizers.first_order.named import Adagrad as Adagrad
from physopt.optimizers.first_order.named import Adam as Adam
from physopt.optimizers.first_order.named import AdamW as AdamW
from physopt.optimizers.first_order.named import Lion as Lion
from physopt.optimizers.first_order.named import Muon as Muon
from physopt.optimizers.first_order.named import RMSProp as RMSProp
from physopt.optimizers.first_order.rule import FirstOrder as FirstOrder
from physopt.optimizers.first_order.shampoo import Shampoo as Shampoo
from physopt.optimizers.first_order.soap import SOAP as SOAP
