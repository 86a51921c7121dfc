// A dialog over the page that a click beside it closes, as Esc does.
import type { ComponentProps, RefObject } from 'react';

type ModalProps = ComponentProps<'dialog'> & { readonly dialog: RefObject<HTMLDialogElement | null> };

export function Modal({ dialog, ...props }: ModalProps) {
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc closes it, by the browser
    <dialog ref={dialog} onClick={event => event.target === dialog.current && dialog.current.close()} {...props} />
  );
}
