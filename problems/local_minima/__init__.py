"""Problems with many local minima, flat regions or chaos: wave packets, billiards, flame fronts.

They ask whether solving many inverse problems jointly, by one network trained on them, finds better
minima than solving each by itself. `runs/joint` compares the two.
"""

from physopt.problems.local_minima.billiards import Billiards
from physopt.problems.local_minima.kuramoto_sivashinsky import KuramotoSivashinsky
from physopt.problems.local_minima.wave_packet import WavePacket

__all__ = ["Billiards", "KuramotoSivashinsky", "WavePacket"]
