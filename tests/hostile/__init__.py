"""What somebody who means us harm would try, and how it ends."""
