# To be sourced from the top of the checkout: prefers the Node that scripts/setup put into .node, if any.
if [ -x .node/bin/node ]; then
  case ":$PATH:" in
    *":$PWD/.node/bin:"*) ;;
    *) PATH=$PWD/.node/bin:$PATH ;;
  esac
  export PATH
fi
