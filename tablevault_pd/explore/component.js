// A page of its own, and not a part of a notebook: as wide as the screen of a phone, light or dark as the system is.
function prepare() {
  document.documentElement.dataset.served = 'yes';
  document.documentElement.style.colorScheme = 'light dark';
  if (!document.querySelector('meta[name=viewport]')) {
    const meta = document.createElement('meta');
    meta.name = 'viewport';
    meta.content = 'width=device-width, initial-scale=1';
    document.head.append(meta);
  }
}

// Whether the notebook is dark: JupyterLab and Notebook, VS Code, and front ends that mark the document.
function notebook_is_dark() {
  const {body, documentElement: page} = document;
  return body.dataset.jpThemeLight === 'false' || body.classList.contains('vscode-dark') || page.dataset.theme === 'dark';
}

function follow_theme(root, model) {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const served = () => document.documentElement.dataset.served === 'yes';
  const paint = () => root.classList.toggle('dark', served() ? system.matches : notebook_is_dark());
  const watch = new MutationObserver(paint);
  for (const element of [document.body, document.documentElement]) {
    watch.observe(element, {attributes: true, attributeFilter: ['class', 'data-jp-theme-light', 'data-theme', 'data-served']});
  }
  system.addEventListener('change', paint);
  model.on('remove', () => { watch.disconnect(); system.removeEventListener('change', paint); });
  paint();
}

export function render({model}) {
  const root = document.createElement('div');
  root.className = 'vault';
  const draw = () => { root.innerHTML = model.html; };
  if (model.keeps_address) { prepare(); }
  follow_theme(root, model);
  const go = query => model.send_msg({go: query});
  draw();
  model.on('html', draw);

  root.addEventListener('click', event => {
    const button = event.target.closest('[data-do]');
    if (button) {
      event.preventDefault();
      model.send_msg({do: button.dataset.do, which: button.dataset.which});
      return;
    }
    const link = event.target.closest('[data-go]');
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      go(link.dataset.go);
    }
  });
  root.addEventListener('submit', event => {
    event.preventDefault();
    const fields = new FormData(event.target, event.submitter);
    go('?' + new URLSearchParams(fields).toString());
  });
  if (model.keeps_address) {
    const back = () => model.send_msg({back: window.location.search});
    window.addEventListener('popstate', back);
    model.on('remove', () => window.removeEventListener('popstate', back));
  }
  return root;
}
