"""What do people call the column of the address?"""

from __future__ import annotations

ADDRESS_NAMES = frozenset(
    """
    email e_mail mail emails e_mails mails email_address e_mail_address emailaddress mail_address
    mailaddress email_addresses e_mail_addresses email_addr email_adress email_id e_mail_id emailid
    primary_email contact_email your_email your_email_address internet_address smtp_address
    primary_smtp_address e_mail_adresse email_adresse mail_adresse mailadresse emailadresse
    e_mailadresse e_mail_adressen courriel courriels adresse_e_mail adresse_email adresse_mail
    adresse_courriel adresse_de_courriel mel adresse_electronique adresse_mel correo correo_electronico
    correo_e direccion_de_correo direccion_de_correo_electronico direccion_de_email direccion_email
    direccion_electronica endereco_de_email endereco_de_e_mail correio_eletronico correio_electronico
    endereco_eletronico posta_elettronica indirizzo_email indirizzo_e_mail indirizzo_mail
    indirizzo_di_posta_elettronica correu correu_electronic adreca_electronica adreca_de_correu
    emailadres e_mailadres e_mail_adres mailadres e_post epost e_postadress epostadress e_postadresse
    epostadresse mejladress mejl netfang tolvupostfang sahkoposti sahkopostiosoite meil meiliaadress
    e_posti_aadress el_pastas el_pasto_adresas e_pasts adres_e_mail adres_email adres_mailowy poczta
    poczta_elektroniczna adres_poczty_elektronicznej e_mailova_adresa emailova_adresa mailova_adresa
    e_mail_cim email_cim e_mailcim emailcim adresa_de_email adresa_email adresa_e_mail posta_electronica
    e_posta eposta e_posta_adresi e_postasi adresa_e_poste e_naslov elektronicka_posta elektronska_posta
    surel alamat_email emel e_mel alamat_emel thu_dien_tu dia_chi_email riomhphost ebost cyfeiriad_ebost
    retposto retadreso helbide_elektronikoa barua_pepe почта эл_почта электронная_почта
    адрес_электронной_почты электронный_адрес эл_адрес имейл емейл емэйл пошта ел_пошта електронна_пошта
    електронна_адреса адреса_електронної_пошти електронна_поща имейл_адрес е_пошта електронска_пошта
    имејл ηλεκτρονικο_ταχυδρομειο ηλεκτρονικη_διευθυνση ηλεκτρονικό_ταχυδρομείο ηλεκτρονική_διεύθυνση
    البريد_الالكتروني البريد_الإلكتروني بريد_الكتروني بريد_إلكتروني الايميل الإيميل ايميل إيميل
    عنوان_البريد_الإلكتروني עنوان_البريد_الالكتروني ایمیل پست_الکترونیک پست_الکترونیکی رایانامه
    آدرس_ایمیل אימייל מייל דוא_ל דואל דואר_אלקטרוני כתובת_אימייל כתובת_מייל כתובת_דוא_ל ईमेल ई_मेल
    ईमेल_पता อีเมล อีเมล์ ที่อยู่อีเมล 邮箱 电子邮箱 电子邮件 邮件 邮箱地址 邮件地址 电子邮件地址 电邮
    信箱 電子郵件 電子信箱 電郵 電郵地址 電子郵件地址 郵箱 メール メールアドレス eメール eメールアドレス
    電子メール 電子メールアドレス emailアドレス e_mailアドレス mailアドレス メアド 이메일 이메일_주소
    이메일주소 메일 메일주소 전자우편 전자메일 메일_주소
    """.split(),  # noqa: RUF001, SIM905 - words of many scripts, easier to read without quotes
)
"""Names that say it, as short names, in the languages we know them in."""

MAYBE_ADDRESS_NAMES = frozenset(
    """
    address adresse adres adress direccion direccio endereco indirizzo contact contacto contatto kontakt
    recipient destinataire destinatario destinatari empfanger empfaenger ontvanger mottagare modtager to
    an login username アドレス адрес адреса العنوان כתובת 地址
    """.split(),  # noqa: SIM905 - words of many scripts, easier to read without quotes
)
"""Names that may say it: what the column holds decides."""
