export function render({model}) {
  const root = document.createElement('div');
  root.className = 'vault';
  const draw = () => { root.innerHTML = model.html; };
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
